//! An upload session: where to send the next request, and how far the registry says it is (distribution
//! specification, "Pushing a blob in chunks").

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use registry_types::Digest;
use url::Url;

use crate::{
    Error, Repository,
    progress::Direction,
    reply::Reply,
    transport::{Meter, Payload, authority, same_origin},
};

/// By which a registry says how long a chunk must at least be.
const OCI_CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");

/// Longest chunk that is sent because a registry asks for it, in bytes: object stores ask for at most a few
/// megabytes, and chunks of streams are kept in memory.
const LONGEST_MIN_LENGTH: u64 = 64 << 20;

pub(super) struct Session {
    url: Url,
    /// How many bytes the registry has.
    pub(super) offset: u64,
    pub(super) shortest_chunk: u64,
}

impl Session {
    /// Reads the answer to the request that opened the session.
    pub(super) async fn open(repository: &Repository, reply: Reply) -> Result<Self, Error> {
        let shortest_chunk = reply
            .header(OCI_CHUNK_MIN_LENGTH)
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
            .min(LONGEST_MIN_LENGTH);
        let url = location(repository, &reply).await?;
        reply.discard().await;
        Ok(Self { url, offset: 0, shortest_chunk })
    }

    fn action(repository: &Repository) -> String {
        format!("uploading a blob to {}", repository.name)
    }

    fn meter(repository: &Repository, digest: Option<&Digest>, base: u64) -> Option<Meter> {
        let (progress, digest) = (Arc::clone(&repository.inner.progress), *digest?);
        let report = move |position| progress.position(Direction::Push, &digest, position);
        Some(Meter::new(base, Arc::new(report)))
    }

    /// Ends the upload with the rest of the content, which may be nothing.
    pub(super) async fn put(
        &mut self,
        repository: &Repository,
        digest: &Digest,
        rest: Payload,
    ) -> Result<(), Error> {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let action = Self::action(repository);
        let mut call = repository.call(Method::PUT, url, repository.push_scope(), action);
        if rest.length() > 0 {
            call.meter = Self::meter(repository, Some(digest), self.offset);
        }
        call.payload = rest;
        // Sent again only after asking how far the registry is.
        call.repeatable = false;
        let call = call.header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let reply = repository.expect(&call, &[201]).await?;
        repository.check_committed(reply, digest).await
    }

    /// Sends one chunk that begins at the session's offset. `digest` is for progress only.
    pub(super) async fn patch(
        &mut self,
        repository: &Repository,
        digest: Option<&Digest>,
        chunk: Payload,
    ) -> Result<(), Error> {
        let length = chunk.length();
        let action = Self::action(repository);
        let mut call = repository.call(Method::PATCH, self.url.clone(), repository.push_scope(), action);
        call.meter = Self::meter(repository, digest, self.offset);
        call.payload = chunk;
        let range = format!("{}-{}", self.offset, self.offset + length - 1);
        let range = HeaderValue::try_from(range)
            .map_err(|_| Error::reply(&repository.host.name, "a range is no header value"))?;
        let call = call
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
            .header(header::CONTENT_RANGE, range);
        // Some registries answer 201 or 204 here.
        let reply = repository.expect(&call, &[201, 202, 204]).await?;
        let expected = self.offset + length;
        // The registry may have taken less than all of it; a missing Range means all.
        let taken = reply.header(header::RANGE).map_or(Some(expected), offset_of);
        self.follow(repository, &reply).await?;
        reply.discard().await;
        match taken {
            // `0-0` is also one byte.
            Some(0) if expected == 1 => {
                self.offset = 1;
                Ok(())
            }
            Some(taken) if taken == expected || (taken > self.offset && taken < expected) => {
                self.offset = taken;
                Ok(())
            }
            _ => Err(Error::reply(&repository.host.name, "after a chunk it stands at an impossible offset")),
        }
    }

    /// Sends the rest of `payload` in chunks, from where the registry is.
    pub(super) async fn send_from(
        &mut self,
        repository: &Repository,
        digest: &Digest,
        payload: &Payload,
    ) -> Result<(), Error> {
        let length = repository.inner.chunk_length.max(self.shortest_chunk);
        while self.offset < payload.length() {
            let chunk = payload.part(self.offset, length);
            self.patch(repository, Some(digest), chunk).await?;
        }
        self.put(repository, digest, Payload::Empty).await
    }

    /// Asks how far the registry is. `false` when it does not know the session.
    pub(super) async fn ask_offset(&mut self, repository: &Repository) -> Result<bool, Error> {
        let action = format!("asking for an upload of {}", repository.name);
        let call = repository.call(Method::GET, self.url.clone(), repository.push_scope(), action);
        let reply = repository.send(&call).await?;
        match reply.status() {
            StatusCode::NO_CONTENT | StatusCode::ACCEPTED | StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return Ok(false),
            _ => return Err(reply.into_error().await),
        }
        let offset = match reply.header(header::RANGE) {
            None => 0,
            Some(text) => offset_of(text)
                .ok_or_else(|| Error::reply(&repository.host.name, "its offset of an upload is malformed"))?,
        };
        self.follow(repository, &reply).await?;
        reply.discard().await;
        self.offset = offset;
        Ok(true)
    }

    /// Each answer may move the session.
    async fn follow(&mut self, repository: &Repository, reply: &Reply) -> Result<(), Error> {
        if reply.header(header::LOCATION).is_some() {
            self.url = location(repository, reply).await?;
        }
        Ok(())
    }

    /// Gives the session up; registries drop it after a while anyway, so a failure is of no matter.
    pub(super) async fn cancel(self, repository: &Repository) {
        let action = format!("cancelling an upload to {}", repository.name);
        let mut call = repository.call(Method::DELETE, self.url, repository.push_scope(), action);
        call.repeatable = false;
        if let Ok(reply) = repository.send(&call).await {
            reply.discard().await;
        }
    }
}

/// The session's address out of an answer, relative or absolute.
async fn location(repository: &Repository, reply: &Reply) -> Result<Url, Error> {
    let host = &repository.host.name;
    let text = reply
        .header(header::LOCATION)
        .ok_or_else(|| Error::reply(host, "it opened an upload and gave no Location for it"))?;
    let mut location = reply
        .url
        .join(text)
        .map_err(|error| Error::reply(host, format!("the Location of its upload is not a URL: {error}")))?;
    let base = repository.inner.base(&repository.host).await?;
    if !same_origin(base, &location) {
        // A registry behind a proxy that takes the TLS off names its own scheme; the way in is the one we came.
        if location.host_str() == base.host_str()
            && location.port() == base.port()
            && location.set_scheme(base.scheme()).is_ok()
        {
            return Ok(location);
        }
        if !matches!(location.scheme(), "http" | "https") {
            return Err(Error::reply(host, "the Location of its upload is neither http nor https"));
        }
        repository.inner.check_plain(&location)?;
        tracing::debug!(%host, elsewhere = authority(&location), "the upload goes to another host");
    }
    Ok(location)
}

/// The offset that `Range: 0-LAST` of an answer means. Distribution says `0-0` for an empty upload, so that is what
/// it means here; an upload of one byte is then refused with 416 and starts anew.
fn offset_of(range: &str) -> Option<u64> {
    let text = range.trim();
    let text = text.strip_prefix("bytes=").unwrap_or(text);
    let (first, last) = text.split_once('-')?;
    let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim());
    if first != 0 {
        return None;
    }
    // Some registries say `0--1` for an empty upload.
    if last == "-1" {
        return Some(0);
    }
    match last.parse::<u64>().ok()? {
        0 => Some(0),
        last => last.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_offset_is_one_behind_the_last_byte() {
        for (range, offset) in [
            ("0-9", Some(10)),
            ("bytes=0-9", Some(10)),
            ("0-0", Some(0)),
            ("0--1", Some(0)),
            ("1-9", None),
            ("0", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(offset_of(range), offset, "{range}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = offset_of(&text);
        }
    }
}
