//! The client's errors. A variant is something a caller can act on; a message says what happened, to what, and
//! how to mend it. No message holds a secret, and none holds a URL's query, where signatures travel.

use std::{io, path::PathBuf, time::Duration};

use registry_types::{Digest, ErrorEnvelope, ParseError};

/// Why a request to a registry, or reading a local image, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry wants a login, or refuses the one it got.
    #[error(
        "{host} refused {action}: {reason}; log in with `docker login {host}`, or put an entry for it into \
         DOCKER_AUTH_CONFIG"
    )]
    Unauthorized { host: String, action: String, reason: String },
    /// The login is good and does not reach this far.
    #[error("{host} does not allow {action}: {message}")]
    Denied { host: String, action: String, message: String },
    /// The registry or the local image holds no such thing.
    #[error("{what} was not found in {place}")]
    NotFound { what: String, place: String },
    /// The bytes are not the ones their digest names: damaged on the way, or a lie.
    #[error("{what} is damaged: expected {expected}, got {actual}")]
    DigestMismatch { what: String, expected: Digest, actual: Digest },
    /// The content has another length than its descriptor says, in bytes.
    #[error("{what} has {actual} bytes where {expected} were announced")]
    SizeMismatch { what: String, expected: u64, actual: u64 },
    /// The content is longer than the caller takes, in bytes.
    #[error("{what} is longer than the {limit} bytes that are taken")]
    TooLarge { what: String, limit: u64 },
    /// The host speaks plain HTTP and nobody said that this is fine.
    #[error(
        "{host} speaks plain HTTP, so passwords and images could be read and changed on the way; give it TLS, or \
         name it: --insecure-registry {host}"
    )]
    InsecureRefused { host: String },
    /// No TLS session that can be trusted.
    #[error("no trusted TLS session with {host}: {reason}")]
    Tls { host: String, reason: String },
    /// The network or the other end broke off.
    #[error("cannot reach {host}: {reason}")]
    Network { host: String, reason: String },
    /// The other end was silent for too long.
    #[error("{host} was silent for {} s while {waiting}", .waited.as_secs_f32())]
    Timeout { host: String, waiting: &'static str, waited: Duration },
    /// The registry asks to slow down, and still did after the retries.
    #[error("{host} allows no more requests now{}", retry_text(*.retry_after))]
    TooManyRequests { host: String, retry_after: Option<Duration> },
    /// Any other refusal of the registry.
    #[error("{host} answered {status} to {action}: {code}{}{message}", if .message.is_empty() { "" } else { ", " })]
    Registry { host: String, action: String, status: u16, code: String, message: String },
    /// An answer that breaks the distribution specification.
    #[error("{host} gave an answer that cannot be used: {reason}")]
    InvalidReply { host: String, reason: String },
    /// The image is not made for the wanted platform.
    #[error("{image} is not there for {wanted}; it is there for {available}")]
    PlatformMissing { image: String, wanted: String, available: String },
    /// A credentials file or helper cannot be used.
    #[error("credentials in {place} cannot be used: {reason}")]
    Credentials { place: String, reason: String },
    /// A setting of the client cannot be used.
    #[error("{setting} cannot be used: {reason}")]
    Setting { setting: String, reason: String },
    /// A local archive or layout is not an image.
    #[error("{} is not an image that can be read: {reason}", .path.display())]
    Archive { path: PathBuf, reason: String },
    /// A local file or the caller's stream failed.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// A manifest, name or digest is malformed.
    #[error(transparent)]
    Malformed(#[from] ParseError),
}

fn retry_text(after: Option<Duration>) -> String {
    match after {
        Some(after) => format!("; try again in {} s", after.as_secs().max(1)),
        None => "; try again later".to_owned(),
    }
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn reply(host: impl ToString, reason: impl Into<String>) -> Self {
        Self::InvalidReply { host: host.to_string(), reason: reason.into() }
    }

    /// Whether the same request may go well a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Network { .. } | Self::Timeout { .. } | Self::TooManyRequests { .. } => true,
            Self::Registry { status, .. } => matches!(status, 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the registry has no such repository, manifest or blob.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// Longest piece of a registry's own message that is repeated, in characters: it may be a whole web page.
const SHOWN_MESSAGE: usize = 400;

/// The first code and message of an error body; the HTTP reason when there is no envelope.
pub(crate) fn read_envelope(status: http::StatusCode, body: &[u8]) -> (String, String) {
    let entry = serde_json::from_slice::<ErrorEnvelope>(body)
        .ok()
        .and_then(|envelope| envelope.errors.into_iter().next());
    match entry {
        Some(entry) => (printable(&entry.code), printable(&entry.message)),
        None => (status.canonical_reason().unwrap_or("no reason given").to_owned(), String::new()),
    }
}

/// `text` without control characters, which could paint over a terminal, and cut to a readable length.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(SHOWN_MESSAGE).collect()
}

/// An error and everything below it, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_read_and_anything_else_is_not_repeated() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m red","detail":null}]}"#;
        let (code, message) = read_envelope(http::StatusCode::FORBIDDEN, body);
        assert_eq!((code.as_str(), message.as_str()), ("DENIED", "no[31m red"));
        let (code, message) = read_envelope(http::StatusCode::BAD_GATEWAY, b"<html>secret</html>");
        assert_eq!((code.as_str(), message.as_str()), ("Bad Gateway", ""));
    }

    #[test]
    fn a_plain_http_registry_is_answered_with_the_flag_to_use() {
        let error = Error::InsecureRefused { host: "registry.lan:5000".to_owned() };
        assert!(error.to_string().contains("--insecure-registry registry.lan:5000"));
    }
}
