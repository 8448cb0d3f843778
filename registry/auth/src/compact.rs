//! The compact serialization of signed tokens (RFC 7515, 7.1) for one algorithm. RS256 is the only one there
//! is code for, so no header can choose another: the classic confusions (`none`, HS256 keyed with a public
//! key) have nothing to reach.

use data_encoding::BASE64URL_NOPAD;
use registry_types::exact_json;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AuthError, SigningKey, TokenError};

/// Longest token, in bytes. Ours for the most scopes with the longest names has 14 KiB; GitLab's have 1 to 3.
pub(crate) const LONGEST_TOKEN: usize = 16 * 1024;

/// The parts of a JOSE header that are understood.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) typ: Option<String>,
    pub(crate) kid: Option<String>,
    pub(crate) x5c: Option<Vec<String>>,
    pub(crate) jwk: Option<Jwk>,
    /// Extensions the reader must understand; there are none.
    pub(crate) crit: Option<Value>,
}

/// The public key in a header, in the members that select one.
#[derive(Debug, Deserialize)]
pub(crate) struct Jwk {
    pub(crate) kty: String,
    pub(crate) n: Option<String>,
    pub(crate) e: Option<String>,
}

/// A token taken apart and not yet verified.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    pub(crate) header: Header,
    /// Header and payload as they were signed.
    pub(crate) message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    /// Takes `token` apart and refuses every algorithm but RS256, before a key or a claim is looked at.
    pub(crate) fn read(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (encoded, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = json(&decode(encoded)?)?;
        if header.alg != "RS256" {
            return Err(TokenError::Algorithm);
        }
        if header.crit.is_some() {
            return Err(TokenError::CriticalExtension);
        }
        if header.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(TokenError::Type);
        }
        Ok(Self { header, message, payload, signature })
    }

    pub(crate) fn signature(&self) -> Result<Vec<u8>, TokenError> {
        decode(self.signature)
    }

    /// The claims; only to be read once the signature has verified.
    pub(crate) fn payload<T: for<'de> Deserialize<'de>>(&self) -> Result<T, TokenError> {
        json(&decode(self.payload)?)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Malformed)
}

/// Objects only, at every depth: serde would also read a list, by the order of the members.
fn json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, TokenError> {
    let text = std::str::from_utf8(bytes).map_err(|_| TokenError::Malformed)?;
    exact_json::from_str(text).map_err(|_| TokenError::Malformed)
}

/// Signs `claims` with `key`; the header is GitLab's.
pub(crate) fn sign_blocking<T: Serialize>(claims: &T, key: &SigningKey) -> Result<String, AuthError> {
    #[derive(Serialize)]
    struct Written<'a> {
        kid: &'a str,
        typ: &'a str,
        alg: &'a str,
    }
    let header = Written { kid: key.public().key_id(), typ: "JWT", alg: "RS256" };
    let mut token = format!("{}.{}", encode(&header)?, encode(claims)?);
    let signature = key.sign_blocking(token.as_bytes())?;
    token.push('.');
    token.push_str(&BASE64URL_NOPAD.encode(&signature));
    Ok(token)
}

fn encode<T: Serialize>(value: &T) -> Result<String, AuthError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|_| AuthError::Cryptography { doing: "the token's claims could not be written" })?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}
