//! What a registry must know of a manifest: its parts, its subject and its type. The bytes themselves are
//! stored and served as sent; nothing here is ever written back.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Descriptor, MediaType, ParseError};

/// The shapes of manifest that the registry understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// A config and layers: OCI image manifest, Docker schema 2, the withdrawn OCI artifact manifest.
    Image,
    /// Other manifests: OCI image index, Docker manifest list.
    Index,
    /// A type that this registry stores without knowing its parts.
    Opaque,
}

/// A slim view of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestView {
    pub kind: ManifestKind,
    pub media_type: MediaType,
    pub artifact_type: Option<MediaType>,
    pub config: Option<Descriptor>,
    /// Layers, or the blobs of an artifact manifest.
    pub layers: Vec<Descriptor>,
    /// Children of an index. An index may be pushed before them, or without some of them.
    pub manifests: Vec<Descriptor>,
    pub subject: Option<Descriptor>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<u32>,
    media_type: Option<MediaType>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    blobs: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

const OCI_ARTIFACT_MANIFEST: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// Docker's first format carries its name and signatures inside and cannot be content-addressed.
const DOCKER_SCHEMA_1_PREFIX: &str = "application/vnd.docker.distribution.manifest.v1+";

impl ManifestView {
    /// Reads `bytes` sent with the `Content-Type` `declared`, or with none.
    ///
    /// # Errors
    /// When it is not JSON of the declared type, when body and header name different types (an attack on
    /// clients that trust one or the other), or when parts that its type requires are missing.
    pub fn parse(bytes: &[u8], declared: Option<&MediaType>) -> Result<Self, ParseError> {
        let bad = |reason: String| ParseError::Manifest { reason };
        let body: Body = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        let media_type = match (declared, &body.media_type) {
            (Some(declared), Some(own)) if declared != own => {
                return Err(bad(format!("its mediaType is {own} and the Content-Type says {declared}")));
            }
            (Some(declared), _) => declared.clone(),
            (None, Some(own)) => own.clone(),
            (None, None) => {
                return Err(bad("it has no mediaType and came without Content-Type".to_owned()));
            }
        };
        if media_type.as_str().starts_with(DOCKER_SCHEMA_1_PREFIX) {
            return Err(bad("Docker schema 1 is not taken: push with a client from after 2017".to_owned()));
        }
        let kind = match media_type.as_str() {
            MediaType::OCI_MANIFEST | MediaType::DOCKER_MANIFEST | OCI_ARTIFACT_MANIFEST => {
                ManifestKind::Image
            }
            MediaType::OCI_INDEX | MediaType::DOCKER_MANIFEST_LIST => ManifestKind::Index,
            _ => ManifestKind::Opaque,
        };
        match kind {
            ManifestKind::Image if media_type.as_str() != OCI_ARTIFACT_MANIFEST => {
                check_schema_version(body.schema_version)?;
                if body.manifests.is_some() {
                    return Err(bad("an image manifest has no manifests: is it an index?".to_owned()));
                }
                if body.config.is_none() {
                    return Err(bad("an image manifest needs a config".to_owned()));
                }
                if body.layers.is_none() {
                    return Err(bad("an image manifest needs layers".to_owned()));
                }
            }
            ManifestKind::Index => {
                check_schema_version(body.schema_version)?;
                if body.layers.is_some() || body.config.is_some() {
                    return Err(bad(
                        "an index has no config and no layers: is it an image manifest?".to_owned()
                    ));
                }
                if body.manifests.is_none() {
                    return Err(bad("an index needs manifests".to_owned()));
                }
            }
            _ => {}
        }
        let known = kind != ManifestKind::Opaque;
        Ok(Self {
            kind,
            artifact_type: match body.artifact_type.as_deref() {
                None | Some("") => None,
                Some(text) => Some(text.parse()?),
            },
            config: body.config.filter(|_| known),
            layers: body.layers.or(body.blobs).filter(|_| known).unwrap_or_default(),
            manifests: body.manifests.filter(|_| known).unwrap_or_default(),
            subject: body.subject,
            annotations: body.annotations.unwrap_or_default(),
            media_type,
        })
    }

    /// Blobs that the registry must hold before it takes this manifest: the config and every layer that is
    /// not foreign, each digest once.
    pub fn required_blobs(&self) -> Vec<&Descriptor> {
        let mut seen = std::collections::HashSet::new();
        self.config
            .iter()
            .chain(&self.layers)
            .filter(|part| !part.media_type.is_foreign_layer())
            .filter(|part| seen.insert(part.digest))
            .collect()
    }

    /// The type that the referrers list shows and filters by: `artifactType`, else the config's media type
    /// (distribution specification, "Listing Referrers").
    pub fn effective_artifact_type(&self) -> Option<&MediaType> {
        self.artifact_type.as_ref().or_else(|| self.config.as_ref().map(|config| &config.media_type))
    }
}

fn check_schema_version(version: Option<u32>) -> Result<(), ParseError> {
    match version {
        Some(2) => Ok(()),
        Some(other) => Err(ParseError::Manifest { reason: format!("its schemaVersion is {other}, not 2") }),
        None => Err(ParseError::Manifest { reason: "it has no schemaVersion".to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Digest;

    fn image(extra: &str) -> String {
        let digest = Digest::sha256(b"");
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":0}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":0}}]{extra}}}"#
        )
    }

    fn oci() -> MediaType {
        MediaType::known(MediaType::OCI_MANIFEST)
    }

    #[test]
    fn an_image_manifest_names_its_parts_once() {
        let view = ManifestView::parse(image("").as_bytes(), Some(&oci())).unwrap();
        assert_eq!(view.kind, ManifestKind::Image);
        assert_eq!(view.required_blobs().len(), 1);
        assert_eq!(view.effective_artifact_type().unwrap().as_str(), MediaType::OCI_CONFIG);
    }

    #[test]
    fn two_types_for_one_manifest_are_refused() {
        let text = image(r#","mediaType":"application/vnd.oci.image.index.v1+json""#);
        assert!(ManifestView::parse(text.as_bytes(), Some(&oci())).is_err());
        let both = image(r#","manifests":[]"#);
        assert!(ManifestView::parse(both.as_bytes(), Some(&oci())).is_err());
    }

    #[test]
    fn missing_parts_are_refused_by_name() {
        let error = ManifestView::parse(br#"{"schemaVersion":2,"layers":[]}"#, Some(&oci())).unwrap_err();
        assert!(error.to_string().contains("needs a config"), "{error}");
        assert!(ManifestView::parse(br#"{"schemaVersion":1}"#, Some(&oci())).is_err());
        assert!(ManifestView::parse(b"{}", None).is_err());
        assert!(ManifestView::parse(b"[]", Some(&oci())).is_err());
    }

    #[test]
    fn unknown_types_are_kept_whole() {
        let odd = "application/vnd.example.thing.v1+json".parse().unwrap();
        let view = ManifestView::parse(image("").as_bytes(), Some(&odd)).unwrap();
        assert_eq!(view.kind, ManifestKind::Opaque);
        assert!(view.required_blobs().is_empty());
    }

    #[test]
    fn foreign_layers_need_not_be_held() {
        let text = image("").replace(
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        );
        let view = ManifestView::parse(text.as_bytes(), Some(&oci())).unwrap();
        assert_eq!(view.required_blobs().len(), 1);
        assert_eq!(view.required_blobs()[0].media_type.as_str(), MediaType::OCI_CONFIG);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ManifestView::parse(&bytes, Some(&oci()));
        }

        #[test]
        fn damaged_manifests_never_panic(position in 0_usize..300, byte in any::<u8>()) {
            let mut bytes = image(r#","subject":null"#).into_bytes();
            if let Some(slot) = bytes.get_mut(position) {
                *slot = byte;
            }
            let _ = ManifestView::parse(&bytes, None);
        }
    }
}
