//! Media types. Any well-formed type is taken: a registry stores what clients invent. It is shown as it was sent
//! and compared without case.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ParseError, shown};

/// A media type without parameters, such as `application/vnd.oci.image.manifest.v1+json`. Types that differ in
/// case only are equal (RFC 6838 section 4.2), and each keeps its spelling. Cloning is cheap.
#[derive(Clone)]
pub struct MediaType {
    sent: Arc<str>,
    /// In lower case, where that is another text.
    lower: Option<Arc<str>>,
}

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

    /// In lower case: for comparing with the constants here and as a key.
    pub fn as_str(&self) -> &str {
        self.lower.as_ref().unwrap_or(&self.sent)
    }

    /// As it was sent: for showing it back.
    pub fn as_sent(&self) -> &str {
        &self.sent
    }

    /// Whether blobs of this type may be absent from the registry ("non-distributable" or "foreign" layers).
    pub fn is_foreign_layer(&self) -> bool {
        self.as_str().starts_with(Self::OCI_LAYER_FOREIGN_PREFIX)
            || self.as_str() == Self::DOCKER_LAYER_FOREIGN
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
        Ok(Self { sent: essence.into(), lower: capitals.then(|| essence.to_ascii_lowercase().into()) })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sent)
    }
}

impl fmt::Debug for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sent)
    }
}

impl PartialEq for MediaType {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for MediaType {}

impl PartialEq<str> for MediaType {
    fn eq(&self, other: &str) -> bool {
        self.sent.eq_ignore_ascii_case(other)
    }
}

impl PartialOrd for MediaType {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MediaType {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for MediaType {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Serialize for MediaType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.sent)
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
    fn case_does_not_tell_types_apart_and_is_kept() {
        let parsed = |text: &str| text.parse::<MediaType>().unwrap();
        let upper = parsed("Application/VND.Example+JSON; a=B");
        assert_eq!(upper.as_str(), "application/vnd.example+json");
        assert_eq!(upper.as_sent(), "Application/VND.Example+JSON");
        assert_eq!(upper.to_string(), "Application/VND.Example+JSON");
        assert_eq!(upper, parsed("application/vnd.example+json"));
        assert!(upper == *"application/Vnd.example+json" && upper != *"application/vnd.example");
        let set: std::collections::HashSet<_> = [upper, parsed("APPLICATION/vnd.example+json")].into();
        assert_eq!(set.len(), 1);
        assert!(parsed("a/B") < parsed("A/c") && parsed("A/b") < parsed("a/C"));
        let read: MediaType = serde_json::from_str("\"TEXT/Html\"").unwrap();
        assert_eq!(
            (read.as_str(), serde_json::to_string(&read).unwrap().as_str()),
            ("text/html", "\"TEXT/Html\"")
        );
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
