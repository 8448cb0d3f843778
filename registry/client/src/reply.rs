//! A registry's answer: its header, where it finally came from, and a body read with limits on length and on
//! silence.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use registry_types::Digest;
use url::Url;

use crate::{
    Error,
    error::{chain, printable, read_envelope},
    retry::retry_after,
};

/// Longest error body that is read, in bytes.
const LONGEST_ERROR_BODY: u64 = 64 << 10;

/// The header by which a registry says what digest it has for the content.
pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    /// Where the answer came from, after redirects.
    pub(crate) url: Url,
    /// The registry asked, for messages.
    pub(crate) host: String,
    /// What was asked, for messages: "pulling manifest a:b".
    pub(crate) action: String,
    pub(crate) idle: Duration,
}

impl Reply {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(http::header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// The digest that the registry claims.
    pub(crate) fn digest(&self) -> Result<Option<Digest>, Error> {
        match self.header(DOCKER_CONTENT_DIGEST) {
            None => Ok(None),
            Some(text) => text.trim().parse().map(Some).map_err(|error| {
                Error::reply(&self.host, format!("its Docker-Content-Digest is malformed: {error}"))
            }),
        }
    }

    pub(crate) fn into_body(self) -> BodyReader {
        BodyReader { body: self.response.into_body(), host: self.host, idle: self.idle }
    }

    /// The whole body, refused when longer than `limit` bytes.
    pub(crate) async fn bytes(self, limit: u64) -> Result<Bytes, Error> {
        let too_large = |what: &str| Error::TooLarge { what: format!("the answer to {what}"), limit };
        let action = self.action.clone();
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(too_large(&action));
        }
        let mut body = self.into_body();
        let mut content = BytesMut::new();
        while let Some(piece) = body.next().await? {
            if content.len() as u64 + piece.len() as u64 > limit {
                return Err(too_large(&action));
            }
            content.extend_from_slice(&piece);
        }
        Ok(content.freeze())
    }

    /// Reads the rest of a body that nobody wants, if it is short, so that the connection can be used again.
    pub(crate) async fn discard(self) {
        if self.response.headers().contains_key(http::header::CONTENT_LENGTH) {
            let _ = self.bytes(LONGEST_ERROR_BODY).await;
        }
    }

    /// The error that a refusing answer means.
    pub(crate) async fn into_error(self) -> Error {
        let (host, action, status) = (self.host.clone(), self.action.clone(), self.status());
        let retry_after = retry_after(self.response.headers());
        let (code, message) = if status.is_redirection() {
            ("redirect".to_owned(), "it points elsewhere, which is not followed here".to_owned())
        } else {
            let body = self.bytes(LONGEST_ERROR_BODY).await.unwrap_or_default();
            read_envelope(status, &body)
        };
        let shown = if message.is_empty() { code.clone() } else { message.clone() };
        match status {
            // GitLab answers 401 for tags that its rules protect: no login helps there.
            StatusCode::UNAUTHORIZED if matches!(code.as_str(), "UNAUTHORIZED" | "Unauthorized") => {
                Error::Unauthorized { host, action, reason: shown }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Error::Denied { host, action, message: shown }
            }
            StatusCode::NOT_FOUND => {
                let what = action.split_once(' ').map_or(action.as_str(), |(_, what)| what).to_owned();
                Error::NotFound { what, place: host }
            }
            StatusCode::TOO_MANY_REQUESTS => Error::TooManyRequests { host, retry_after },
            _ => Error::Registry { host, action, status: status.as_u16(), code: printable(&code), message },
        }
    }
}

/// A body read piece by piece.
pub(crate) struct BodyReader {
    body: Incoming,
    host: String,
    idle: Duration,
}

impl BodyReader {
    /// The next piece; `None` at the end. A body shorter than its announced length is a network error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = tokio::time::timeout(self.idle, self.body.frame()).await.map_err(|_| {
                Error::Timeout { host: self.host.clone(), waiting: "sending a body", waited: self.idle }
            })?;
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data()
                        && !piece.is_empty()
                    {
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => {
                    return Err(Error::Network { host: self.host.clone(), reason: chain(&error) });
                }
            }
        }
    }
}
