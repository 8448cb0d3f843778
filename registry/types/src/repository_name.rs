//! Repository names, in the grammar of the distribution specification ("Pulling manifests", `<name>`).

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{ParseError, shown};

/// Longest name, in bytes: what clients and the distribution registry allow.
const LONGEST: usize = 255;

/// A repository name such as `root/hichat`: lower-case components joined by slashes. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One component: runs of `[a-z0-9]` joined by one of `.`, `_`, `__` or any number of `-`.
fn component_is_valid(component: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    bytes.split(|byte| alphanumeric(*byte)).filter(|separator| !separator.is_empty()).all(|separator| {
        matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

impl FromStr for RepositoryName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |reason| ParseError::RepositoryName { text: shown(text), reason };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.len() > LONGEST {
            return Err(bad("it is longer than 255 characters"));
        }
        if !text.split('/').all(component_is_valid) {
            return Err(bad(
                "between slashes only a-z and 0-9 may stand, joined by single . or _, by __, or by dashes",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RepositoryName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RepositoryName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar_is_the_specification_s() {
        for good in ["a", "root/hichat", "a.b/c_d/e__f/g---h", "0/1", "library/alpine"] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good} was refused");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", "a/../b", ".", "a b", "ä",
            &long,
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad} was taken");
        }
    }

    proptest! {
        #[test]
        fn generated_names_round_trip(name in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,3}(/[a-z0-9]{1,5}){0,4}") {
            prop_assert_eq!(name.parse::<RepositoryName>().unwrap().to_string(), name);
        }

        #[test]
        fn what_is_taken_never_climbs(text in "[a-z./_-]{0,40}") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
            }
        }
    }
}
