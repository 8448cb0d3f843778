//! The claims of a token, in GitLab's words. Reading takes what RFC 7519 allows; writing gives what GitLab
//! gives.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{AccessEntry, AuthType, UserToken};

/// A token's claims.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Claims {
    #[serde(default)]
    pub(crate) iss: String,
    #[serde(default)]
    pub(crate) aud: Audience,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<String>,
    #[serde(default, deserialize_with = "numeric_date", skip_serializing_if = "Option::is_none")]
    pub(crate) iat: Option<i64>,
    #[serde(default, deserialize_with = "numeric_date", skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<i64>,
    #[serde(default, deserialize_with = "numeric_date", skip_serializing_if = "Option::is_none")]
    pub(crate) exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) jti: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) auth_type: Option<AuthType>,
    #[serde(default)]
    pub(crate) access: Option<Vec<AccessEntry>>,
    /// GitLab's nested token about the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<UserToken>,
}

/// Whom a token is for: one name or several (RFC 7519, 4.1.3).
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Audience {
    One(String),
    Several(Vec<String>),
    #[default]
    Nobody,
}

impl Audience {
    pub(crate) fn includes(&self, service: &str) -> bool {
        match self {
            Self::One(name) => name == service,
            Self::Several(names) => names.iter().any(|name| name == service),
            Self::Nobody => false,
        }
    }
}

/// A NumericDate (RFC 7519, 2) is seconds, perhaps with a fraction, which is dropped. Text is no date.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    number
        .as_i64()
        .or_else(|| {
            number.as_f64().filter(|seconds| seconds.abs() < 1e15).map(|seconds| seconds.floor() as i64)
        })
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("a date out of range"))
}
