//! What a registry must know of a manifest: its parts, its subject and its type. The bytes themselves are
//! stored and served as sent; nothing here is ever written back.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Descriptor, MediaType, ParseError, exact_json};

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
    /// clients that trust one or the other), when parts that its type requires are missing, or when other readers
    /// could read other parts in it: arrays for objects, keys in another case or twice, bytes that are not UTF-8.
    pub fn parse(bytes: &[u8], declared: Option<&MediaType>) -> Result<Self, ParseError> {
        let bad = |reason: String| ParseError::Manifest { reason };
        // The whole of it: what a reader skips, another may show.
        let text = std::str::from_utf8(bytes).map_err(|error| bad(format!("it is not UTF-8: {error}")))?;
        let body: Body = exact_json::from_str(text).map_err(|error| bad(error.to_string()))?;
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
mod tests;
