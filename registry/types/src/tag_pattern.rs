//! Tags with wildcards: what tag rules and retention policies are for.

use std::{fmt, str::FromStr};

use crate::{ParseError, Tag, access::component_matches, shown};

/// A tag in which `*` stands for any text, none included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagPattern(String);

/// Longest pattern, in bytes: as long as a tag.
const LONGEST: usize = 128;

impl TagPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, tag: &Tag) -> bool {
        component_matches(self.0.as_bytes(), tag.as_str().as_bytes())
    }
}

impl FromStr for TagPattern {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let valid = !text.is_empty()
            && text.len() <= LONGEST
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-*".contains(&byte));
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseError::TagPattern { text: shown(text) }) }
    }
}

impl fmt::Display for TagPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        let matches = |pattern: &str, tag: &str| {
            pattern.parse::<TagPattern>().unwrap().matches(&tag.parse::<Tag>().unwrap())
        };
        assert!(matches("*", "latest"));
        assert!(matches("v*", "v") && matches("v*", "v1.2"));
        assert!(!matches("v*", "rv1") && !matches("v*", "V1"));
        assert!(matches("*-rc*", "1.0-rc1") && !matches("*-rc", "1.0-rc1"));
        for bad in ["", "a b", "a/b", "?"] {
            assert!(bad.parse::<TagPattern>().is_err(), "{bad:?} was taken");
        }
    }
}
