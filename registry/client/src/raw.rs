//! Single requests as the caller words them, for conformance checks and tests: authorized like all others, answered
//! with whatever the registry says.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::{Error, Repository, auth::Scope, transport::Payload};

/// Longest body that is read, in bytes.
const LONGEST_BODY: u64 = 64 << 20;

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct RawReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl RawReply {
    /// A header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Repository {
    /// Sends one request to `target`, which is relative to `/v2/NAME/` (`blobs/uploads/?digest=..`) or a path or URL
    /// that the registry gave (a `Location`). The token has the rights to pull, push and delete that the login gives.
    /// Nothing is retried but for a renewed token, and no status is an error.
    pub async fn raw(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: impl Into<Bytes>,
    ) -> Result<RawReply, Error> {
        let base = self.url("").await?;
        let url = base
            .join(target)
            .map_err(|error| Error::reply(&self.host.name, format!("the target is not a URL: {error}")))?;
        let scope = if method == Method::DELETE { Scope::delete(&self.name) } else { self.push_scope() };
        let scope = if matches!(method, Method::GET | Method::HEAD) { self.pull_scope() } else { scope };
        let action = format!("sending {method} to {}", self.name);
        let mut call = self.call(method, url, scope, action);
        call.headers = headers;
        call.payload = Payload::Bytes(body.into());
        call.repeatable = false;
        let reply = self.send(&call).await?;
        let (status, headers) = (reply.status(), reply.response.headers().clone());
        Ok(RawReply { status, headers, body: reply.bytes(LONGEST_BODY).await? })
    }
}
