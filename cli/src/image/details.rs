//! What there is to know about an image without pulling its layers: its manifest or index, and below it configurations
//! and the manifests of each platform.

use std::collections::HashMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_client::{Manifest, Source};
use registry_types::{Descriptor, Digest, ManifestView, MediaType, Platform};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Longest configuration that is read, in bytes. Those of images have some kilobytes.
const LONGEST_CONFIGURATION: u64 = 8 << 20;

/// Manifests below one index that are read at once.
const CHILDREN_AT_ONCE: usize = 4;

/// How deep indexes are followed.
const DEEPEST_INDEX: usize = 4;

/// When an image was made (image specification, "Pre-Defined Annotation Keys").
const CREATED: &str = "org.opencontainers.image.created";

#[derive(Debug)]
pub(super) struct Details {
    pub(super) manifest: Manifest,
    pub(super) view: ManifestView,
    /// The configuration, if it is that of an image.
    pub(super) configuration: Option<Value>,
    pub(super) children: Vec<Child>,
}

#[derive(Debug)]
pub(super) struct Child {
    pub(super) descriptor: Descriptor,
    /// `None` when the index names what is not there.
    pub(super) details: Option<Details>,
}

impl Details {
    /// Reads what `manifest` of `source` points to.
    pub(super) async fn of(source: &Source, manifest: Manifest) -> Result<Self, Failure> {
        Self::read(source, manifest, DEEPEST_INDEX).await
    }

    async fn read(source: &Source, manifest: Manifest, depth: usize) -> Result<Self, Failure> {
        let view = manifest.view()?;
        let configuration = match &view.config {
            Some(config) if is_image_configuration(&config.media_type) => {
                let bytes = source.blob_bytes(config, LONGEST_CONFIGURATION).await?;
                let parsed = serde_json::from_slice(&bytes).map_err(|error| {
                    Failure::Failed(format!("the configuration {} is not JSON: {error}", config.digest))
                })?;
                Some(parsed)
            }
            _ => None,
        };
        let children = if depth == 0 { &[][..] } else { &view.manifests };
        let children = stream::iter(children.to_vec())
            .map(|descriptor| async move {
                let details = match source.manifest(&descriptor).await {
                    Ok(manifest) => Some(Box::pin(Self::read(source, manifest, depth - 1)).await?),
                    Err(error) if error.is_not_found() => None,
                    Err(error) => return Err(Failure::from(error)),
                };
                Ok(Child { descriptor, details })
            })
            .buffered(CHILDREN_AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { manifest, view, configuration, children })
    }

    /// Length of configurations and layers, each once, in bytes: what a pull of all of it would bring.
    pub(super) fn size(&self) -> u64 {
        let mut blobs = HashMap::new();
        self.gather(&mut blobs);
        blobs.values().sum()
    }

    fn gather(&self, blobs: &mut HashMap<Digest, u64>) {
        blobs.extend(self.view.config.iter().chain(&self.view.layers).map(|blob| (blob.digest, blob.size)));
        for child in self.children.iter().filter_map(|child| child.details.as_ref()) {
            child.gather(blobs);
        }
    }

    /// When the image was made, as it says itself; of an index, the first time that is found in it.
    pub(super) fn created(&self) -> Option<String> {
        let own = self.text("created").map(str::to_owned);
        own.or_else(|| self.view.annotations.get(CREATED).cloned())
            .or_else(|| self.children.iter().find_map(|child| child.details.as_ref()?.created()))
    }

    /// A text at the top of the configuration.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.configuration.as_ref()?.get(key)?.as_str()
    }

    /// The platform that the configuration names.
    pub(super) fn platform(&self) -> Option<Platform> {
        let (system, architecture) = (self.text("os")?, self.text("architecture")?);
        Some(Platform::new(system, architecture, self.text("variant")))
    }

    /// Each platform that the image is made for.
    pub(super) fn platforms(&self) -> Vec<String> {
        let below =
            self.children.iter().flat_map(|child| match (&child.descriptor.platform, &child.details) {
                (Some(platform), _) => vec![platform.to_string()],
                (None, Some(details)) => details.platforms(),
                (None, None) => Vec::new(),
            });
        let mut platforms: Vec<String> =
            self.platform().map(|platform| platform.to_string()).into_iter().chain(below).collect();
        // Attestations stand in an index for a platform that nobody has.
        platforms.retain(|platform| platform != "unknown/unknown");
        platforms.sort();
        platforms.dedup();
        platforms
    }

    pub(super) fn json(&self) -> Value {
        let mut value = json!({
            "digest": self.manifest.digest,
            "mediaType": self.manifest.media_type,
            "manifestSize": self.manifest.bytes.len(),
            "size": self.size(),
            "created": self.created(),
            "platforms": self.platforms(),
            "annotations": self.view.annotations,
        });
        let mut put = |key: &str, part: Value| value[key] = part;
        if let Some(artifact_type) = &self.view.artifact_type {
            put("artifactType", json!(artifact_type));
        }
        if let Some(subject) = &self.view.subject {
            put("subject", json!(subject));
        }
        if let Some(config) = &self.view.config {
            put("config", json!({ "descriptor": config, "content": self.configuration }));
            put("layers", json!(self.view.layers));
        } else {
            let child = |child: &Child| {
                let image = child.details.as_ref().map(Self::json);
                json!({ "descriptor": child.descriptor, "image": image })
            };
            put("manifests", self.children.iter().map(child).collect());
        }
        value
    }
}

fn is_image_configuration(media_type: &MediaType) -> bool {
    matches!(media_type.as_str(), MediaType::OCI_CONFIG | MediaType::DOCKER_CONFIG)
}
