//! Content digests. A [`Digest`] that exists is well formed: a known algorithm and exactly its number of
//! lower-case hexadecimal digits, as the image specification's "Digests" section asks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DigestHasher, ParseError, shown};

/// The digest algorithms that the image specification registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

impl Algorithm {
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of a digest, in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a digest is never empty")]
    pub fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl FromStr for Algorithm {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(ParseError::Algorithm { algorithm: shown(text) }),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Longest digest of any algorithm, in bytes.
const LONGEST: usize = 64;

/// A digest, written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Bytes past the algorithm's length stay zero, so equality and order need no length.
    bytes: [u8; LONGEST],
}

impl Digest {
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw digest, [`Algorithm::len`] bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.len()]
    }

    /// The part behind the colon.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// The first twelve hexadecimal digits: for people, never for identity.
    pub fn short(&self) -> String {
        hex::encode(&self.bytes[..6])
    }

    /// A digest from its raw bytes; `None` if their number is not the algorithm's.
    pub fn from_bytes(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.len() {
            return None;
        }
        let mut bytes = [0; LONGEST];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { algorithm, bytes })
    }

    /// The digest of `content`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = DigestHasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// The sha256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, content)
    }
}

impl FromStr for Digest {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |reason| ParseError::Digest { text: shown(text), reason };
        let (algorithm, digits) =
            text.split_once(':').ok_or_else(|| bad("the form is algorithm:hexadecimal"))?;
        let algorithm: Algorithm = algorithm.parse()?;
        if digits.len() != 2 * algorithm.len() {
            return Err(bad("the number of digits is not the algorithm's"));
        }
        if !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad("only 0-9 and a-f may stand behind the colon"));
        }
        let mut bytes = [0; LONGEST];
        hex::decode_to_slice(digits, &mut bytes[..algorithm.len()]).map_err(|_| bad("not hexadecimal"))?;
        Ok(Self { algorithm, bytes })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 2 * LONGEST];
        let digits = &mut digits[..2 * self.algorithm.len()];
        hex::encode_to_slice(self.as_bytes(), digits).map_err(|_| fmt::Error)?;
        let digits = std::str::from_utf8(digits).map_err(|_| fmt::Error)?;
        write!(f, "{}:{digits}", self.algorithm)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(Digest::sha256(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse(), Ok(Digest::sha256(b"")));
        assert_eq!(Digest::of(Algorithm::Sha512, b"").hex().len(), 128);
    }

    #[test]
    fn malformed_digests_are_refused() {
        let upper = EMPTY.replace('b', "B");
        for text in ["", "sha256", "sha256:", "sha256:abc", "md5:00", upper.as_str(), &format!("{EMPTY}0")] {
            assert!(text.parse::<Digest>().is_err(), "{text} was taken");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<Digest>();
        }

        #[test]
        fn text_and_value_agree(raw in proptest::collection::vec(any::<u8>(), 64)) {
            for algorithm in Algorithm::ALL {
                let digest = Digest::from_bytes(algorithm, &raw[..algorithm.len()]).unwrap();
                prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
            }
        }
    }
}
