//! Media types. Any well-formed type is taken: a registry stores what clients invent.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ParseError, shown};

/// A media type without parameters, such as `application/vnd.oci.image.manifest.v1+json`, in lower case: types
/// that differ in case only are the same (RFC 6838 section 4.2). Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Arc<str>);

/// Longest media type, in bytes: RFC 6838 section 4.2 allows 127 on each side of the slash.
const LONGEST: usize = 255;

impl MediaType {
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Layers that a registry need not hold (deprecated in the image specification, still pushed).
    pub const OCI_LAYER_FOREIGN_PREFIX: &str = "application/vnd.oci.image.layer.nondistributable.";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

    /// A media type known at compile time.
    ///
    /// # Panics
    /// When `text` is malformed; call it with constants only.
    pub fn known(text: &'static str) -> Self {
        text.parse().expect("a constant media type is well formed")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether blobs of this type may be absent from the registry ("non-distributable" or "foreign" layers).
    pub fn is_foreign_layer(&self) -> bool {
        self.0.starts_with(Self::OCI_LAYER_FOREIGN_PREFIX) || &*self.0 == Self::DOCKER_LAYER_FOREIGN
    }
}

impl FromStr for MediaType {
    type Err = ParseError;

    /// Takes a `Content-Type` value as well: parameters behind `;` are dropped.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let essence = text.split(';').next().unwrap_or_default().trim();
        // RFC 6838 section 4.2, restricted-name-chars.
        let restricted = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        let valid = essence.len() <= LONGEST
            && essence.split_once('/').is_some_and(|(kind, subtype)| restricted(kind) && restricted(subtype));
        if !valid {
            return Err(ParseError::MediaType { text: shown(text) });
        }
        let capitals = essence.bytes().any(|byte| byte.is_ascii_uppercase());
        Ok(Self(if capitals { essence.to_ascii_lowercase().into() } else { essence.into() }))
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for MediaType {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for MediaType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_dropped_and_nonsense_is_refused() {
        assert_eq!(
            "application/json; charset=utf-8".parse::<MediaType>().unwrap().as_str(),
            "application/json"
        );
        for bad in ["", "json", "/", "a/", "/b", "a/b c", "a/b/c", "a\n/b"] {
            assert!(bad.parse::<MediaType>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn case_does_not_tell_types_apart() {
        let upper: MediaType = "Application/VND.Example+JSON; a=B".parse().unwrap();
        assert_eq!(upper.as_str(), "application/vnd.example+json");
        assert_eq!(serde_json::from_str::<MediaType>("\"TEXT/Html\"").unwrap().as_str(), "text/html");
    }

    #[test]
    fn foreign_layers_are_told_apart() {
        assert!(MediaType::known(MediaType::DOCKER_LAYER_FOREIGN).is_foreign_layer());
        assert!(
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
                .parse::<MediaType>()
                .unwrap()
                .is_foreign_layer()
        );
        assert!(!MediaType::known(MediaType::OCI_LAYER_GZIP).is_foreign_layer());
    }
}
