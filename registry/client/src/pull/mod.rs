//! Pulling blobs: every byte is hashed, a cut is mended by asking for what is missing, and nothing is reported
//! whole before its length and digest are right.

mod file;
mod stream;
mod tail;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use registry_types::{Digest, DigestHasher};

use crate::{
    Error, Repository,
    client::Inner,
    reply::{BodyReader, Reply},
};

pub use stream::BlobStream;
pub(crate) use stream::verified;
pub use tail::BlobTail;

impl Repository {
    fn blob_name(&self, digest: &Digest) -> String {
        format!("blob {digest} of {}", self.name)
    }

    /// Whether the repository holds a blob.
    pub async fn blob_exists(&self, digest: &Digest) -> Result<bool, Error> {
        Ok(self.blob_head(digest).await?.is_some())
    }

    /// A blob's length in bytes; `None` when the repository does not hold it.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let Some(reply) = self.blob_head(digest).await? else { return Ok(None) };
        let length = reply.content_length();
        length
            .map(Some)
            .ok_or_else(|| Error::reply(&self.host.name, "a HEAD of a blob has no Content-Length"))
    }

    async fn blob_head(&self, digest: &Digest) -> Result<Option<Reply>, Error> {
        let url = self.url(&format!("blobs/{digest}")).await?;
        let action = format!("pulling {}", self.blob_name(digest));
        let reply = self.send(&self.call(Method::HEAD, url, self.pull_scope(), action)).await?;
        match reply.status().as_u16() {
            200 => Ok(Some(reply)),
            404 => Ok(None),
            _ => Err(reply.into_error().await),
        }
    }

    /// A small blob in memory, such as an image's configuration; longer ones than `limit` bytes are refused.
    pub async fn blob_bytes(&self, digest: &Digest, limit: u64) -> Result<Bytes, Error> {
        let _permit = Inner::permit(&self.inner.pulls).await;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let content = match self.request_blob(digest, None).await {
                Ok(reply) => reply.bytes(limit).await,
                Err(error) => return Err(error),
            };
            match content {
                Ok(content) => {
                    let mut hasher = DigestHasher::new(digest.algorithm());
                    hasher.update(&content);
                    let actual = hasher.finish();
                    if actual == *digest {
                        return Ok(content);
                    }
                    return Err(Error::DigestMismatch {
                        what: self.blob_name(digest),
                        expected: *digest,
                        actual,
                    });
                }
                Err(error) if error.is_transient() => match self.inner.retry.pause(attempt, None) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a blob or a range of it (first and last byte; no last means to the end). The answer is 200 or 206.
    async fn request_blob(&self, digest: &Digest, range: Option<(u64, Option<u64>)>) -> Result<Reply, Error> {
        let url = self.url(&format!("blobs/{digest}")).await?;
        let action = format!("pulling {}", self.blob_name(digest));
        let mut call = self.call(Method::GET, url, self.pull_scope(), action);
        if let Some((first, last)) = range {
            let last = last.map(|last| last.to_string()).unwrap_or_default();
            let value = HeaderValue::try_from(format!("bytes={first}-{last}"))
                .map_err(|_| Error::reply(&self.host.name, "a range is no header value"))?;
            call = call.header(header::RANGE, value);
        }
        self.expect(&call, if range.is_some() { &[200, 206] } else { &[200] }).await
    }

    /// A blob of `size` bytes from `position` on, whether or not the registry serves ranges.
    async fn open_blob(&self, digest: &Digest, size: u64, position: u64) -> Result<Opened, Error> {
        let range = (position > 0).then_some((position, None));
        let reply = self.request_blob(digest, range).await?;
        let partial = reply.status() == http::StatusCode::PARTIAL_CONTENT;
        if partial {
            check_content_range(&reply, position, None, size)?;
        }
        let skip = if partial { 0 } else { position };
        let expected = if partial { size - position } else { size };
        if let Some(length) = reply.content_length()
            && length != expected
        {
            let what = self.blob_name(digest);
            return Err(Error::SizeMismatch { what, expected: size, actual: size - expected + length });
        }
        Ok(Opened { body: reply.into_body(), skip })
    }
}

struct Opened {
    body: BodyReader,
    /// Bytes that are here already and come again.
    skip: u64,
}

/// Checks `Content-Range: bytes FIRST-LAST/SIZE` of a 206 against what was asked for (RFC 9110 section 14.4).
fn check_content_range(reply: &Reply, first: u64, last: Option<u64>, size: u64) -> Result<(), Error> {
    let text = reply.header(header::CONTENT_RANGE).unwrap_or_default();
    match parse_content_range(text) {
        Some((start, end, total))
            if start == first
                && last.is_none_or(|last| end == last)
                && total.is_none_or(|total| total == size) =>
        {
            Ok(())
        }
        _ => Err(Error::reply(&reply.host, "it sent another range of a blob than it was asked for")),
    }
}

fn parse_content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        digits => Some(digits.parse().ok()?),
    };
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first <= last).then_some((first, last, total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_ranges_are_read() {
        assert_eq!(parse_content_range("bytes 3-9/20"), Some((3, 9, Some(20))));
        assert_eq!(parse_content_range("bytes 3-9/*"), Some((3, 9, None)));
        for bad in ["", "bytes", "bytes 9-3/20", "bytes */20", "3-9/20", "bytes 3-9", "bytes 3-9/x"] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = parse_content_range(&text);
        }
    }
}
