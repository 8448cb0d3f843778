//! Where a blob's bytes are. The metadata store keeps it with the blob; only blob stores make and read keys.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{ParseError, shown};

/// Where the bytes of a blob are in the blob store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlobLocation {
    /// At the place that the digest names: the tree of one machine.
    ByDigest,
    /// In an object store, under a key that was chosen before the digest was known.
    Key(ObjectKey),
}

impl BlobLocation {
    /// The key, if the bytes have one.
    pub fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::ByDigest => None,
            Self::Key(key) => Some(key),
        }
    }
}

/// The key of an object: components joined by `/`, each of `a-z A-Z 0-9 . _ -` and not of dots only, so that it is
/// the same text in a URL, in a listing and as a path. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

/// Longest key, in bytes: what S3 allows ("Creating object key names", Amazon S3 user guide).
const LONGEST: usize = 1_024;

impl ObjectKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let component = |part: &str| {
            part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && part.bytes().any(|byte| byte != b'.')
        };
        if text.len() <= LONGEST && text.split('/').all(component) {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::ObjectKey { text: shown(text) })
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_paths() {
        for good in ["blobs/ab/0f8fad5b-d9cb-469f-a165-70867728950e", "a", "a.b/c_d/-", ".a/b."] {
            assert_eq!(good.parse::<ObjectKey>().map(|key| key.to_string()).as_deref(), Ok(good));
        }
        let long = "a".repeat(1_025);
        for bad in ["", "/", "/a", "a/", "a//b", "a/../b", ".", "a b", "a%2f", "ä", "a\n", &long] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad:?} was taken");
        }
    }
}
