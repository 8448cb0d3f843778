//! Upload session ids: random, so that one session's id does not tell another's.

use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::{ParseError, shown};

/// The id of an upload session, a random (version 4) UUID in its hyphenated lower-case form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(Uuid);

impl UploadId {
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }
}

impl FromStr for UploadId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let id = Uuid::try_parse(text).map_err(|_| ParseError::UploadId { text: shown(text) })?;
        // Other spellings of the same id would be other file names.
        if id.hyphenated().to_string() == text {
            Ok(Self(id))
        } else {
            Err(ParseError::UploadId { text: shown(text) })
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_spelling_is_taken() {
        let id = UploadId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(
            id.to_string().to_uppercase().parse::<UploadId>().is_err()
                || !id.to_string().contains(char::is_alphabetic)
        );
        assert!(id.to_string().replace('-', "").parse::<UploadId>().is_err());
        assert!("../../etc".parse::<UploadId>().is_err());
    }
}
