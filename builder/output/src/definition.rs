//! Writes an image: its manifest in OCI form around a config. The bytes depend on what is given and on nothing else.

use std::collections::BTreeMap;

use bytes::Bytes;
use registry_types::{Descriptor, Digest, MediaType, Platform};
use serde::Serialize;

use crate::error::{OutputError, Result};
use crate::image::{BuiltImage, ImageLayer};

/// Everything that makes an image.
#[derive(Debug, Clone)]
pub struct ImageDefinition {
    /// The finished config blob (image specification, "Image JSON Description"); its `rootfs` names the diffIDs of
    /// `layers`.
    pub config: Vec<u8>,
    pub platform: Platform,
    /// Lowest first.
    pub layers: Vec<ImageLayer>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'a> {
    schema_version: u32,
    media_type: &'static str,
    config: &'a Descriptor,
    layers: Vec<&'a Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl ImageDefinition {
    /// Writes the manifest.
    ///
    /// # Errors
    /// [`OutputError::Config`] if the manifest cannot be written as JSON.
    pub fn write(self) -> Result<BuiltImage> {
        let Self { config, platform, layers, annotations } = self;
        let config = Bytes::from(config);
        let layers: Vec<ImageLayer> = layers.into_iter().map(in_oci_form).collect();
        let config_descriptor = descriptor(MediaType::OCI_CONFIG, &config);
        let manifest = serde_json::to_vec(&Manifest {
            schema_version: 2,
            media_type: MediaType::OCI_MANIFEST,
            config: &config_descriptor,
            layers: layers.iter().map(|layer| &layer.descriptor).collect(),
            annotations,
        });
        let manifest =
            Bytes::from(manifest.map_err(|error| OutputError::Config { reason: error.to_string() })?);
        let manifest_descriptor = descriptor(MediaType::OCI_MANIFEST, &manifest);
        Ok(BuiltImage { manifest, manifest_descriptor, config, config_descriptor, layers, platform })
    }
}

fn descriptor(media_type: &'static str, content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::known(media_type), Digest::sha256(content), content.len() as u64)
}

/// A layer of a Docker image under its OCI media type: the bytes are the same, and one manifest has one family.
fn in_oci_form(mut layer: ImageLayer) -> ImageLayer {
    const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let media_type = match layer.descriptor.media_type.as_str() {
        MediaType::DOCKER_LAYER_GZIP => MediaType::OCI_LAYER_GZIP,
        MediaType::DOCKER_LAYER_FOREIGN => FOREIGN,
        "application/vnd.docker.image.rootfs.diff.tar" => MediaType::OCI_LAYER,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => MediaType::OCI_LAYER_ZSTD,
        _ => return layer,
    };
    layer.descriptor.media_type = MediaType::known(media_type);
    layer
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn definition(media_type: &'static str) -> ImageDefinition {
        let layer = ImageLayer {
            descriptor: descriptor(media_type, b"compressed"),
            diff_id: Digest::sha256(b"plain"),
            origin: None,
        };
        ImageDefinition {
            config: br#"{"os":"linux","architecture":"amd64"}"#.to_vec(),
            platform: Platform::new("linux", "amd64", None),
            layers: vec![layer],
            annotations: BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]),
        }
    }

    #[test]
    fn a_manifest_names_its_parts_and_is_the_same_each_time() {
        let first = definition(MediaType::OCI_LAYER_ZSTD).write().unwrap();
        assert_eq!(first.manifest, definition(MediaType::OCI_LAYER_ZSTD).write().unwrap().manifest);
        let manifest: Value = serde_json::from_slice(&first.manifest).unwrap();
        assert_eq!(manifest["mediaType"], MediaType::OCI_MANIFEST);
        assert_eq!(manifest["config"]["digest"], Digest::sha256(&first.config).to_string());
        assert_eq!(manifest["layers"][0]["mediaType"], MediaType::OCI_LAYER_ZSTD);
        assert_eq!(manifest["layers"][0]["size"], 10);
        assert_eq!(manifest["annotations"]["a"], "1");
        assert_eq!(*first.digest(), Digest::sha256(&first.manifest));
        assert_eq!(first.size(), (first.manifest.len() + first.config.len() + 10) as u64);
    }

    #[test]
    fn layers_of_docker_images_get_oci_media_types() {
        for (docker, oci) in [
            (MediaType::DOCKER_LAYER_GZIP, MediaType::OCI_LAYER_GZIP),
            ("application/vnd.docker.image.rootfs.diff.tar", MediaType::OCI_LAYER),
            (MediaType::OCI_LAYER, MediaType::OCI_LAYER),
        ] {
            let image = definition(docker).write().unwrap();
            assert_eq!(image.layers[0].descriptor.media_type.as_str(), oci);
        }
        let foreign = definition(MediaType::DOCKER_LAYER_FOREIGN).write().unwrap();
        assert!(foreign.layers[0].descriptor.media_type.is_foreign_layer());
    }
}
