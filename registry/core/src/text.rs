//! Values that configuration, command line and JSON hold as text: read by `FromStr`, written by `Display`.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// For `#[serde(with = "registry_core::as_text")]`.
pub mod as_text {
    use super::{Cow, Deserialize, Deserializer, Display, Error, FromStr, Serializer};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A value of a list or an option that is held as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text<T>(pub T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_text::serialize(&self.0, serializer)
    }
}

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_text::deserialize(deserializer).map(Self)
    }
}

/// Why a text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("{text:?} is not a length of time: use a number with s, m, h, d or w, such as 12h or 30d")]
    Age { text: String },
    #[error(
        "{text:?} is not a number of bytes: use a number, alone or with KiB, MiB, GiB or TiB, such as 50GiB"
    )]
    ByteSize { text: String },
    #[error(
        "{text:?} is not a schedule: use `hourly`, `daily HH:MM` or `every N` with m, h or d, such as `every 6h`"
    )]
    Schedule { text: String },
}
