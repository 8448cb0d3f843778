//! Pulling and deleting blobs (distribution specification, end-2 and end-10).

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use registry_auth::{Access, Delete, Pull};
use registry_blobs::{BlobSource, BlobStore};
use registry_core::{CoreError, PulledBlob, Registry};
use registry_metadata::Metadata;
use registry_types::{ByteRange, Digest, ErrorCode, RangeError, RepositoryName};

use super::Answer;
use crate::{
    body::{FileTransport, ResponseBody},
    error::HttpError,
    redirects::RedirectFor,
    respond::{Reply, entity_tag, header_text, not_modified},
};

/// Content under a digest never changes.
const FOR_EVER: &str = "max-age=31536000, immutable";

/// How long a signed URL gives the blob: a slow client's time to begin with the last of many layers. One that has
/// begun goes on.
const SIGNED_FOR: Duration = Duration::from_secs(20 * 60);

pub(crate) async fn get<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    method: &Method,
    headers: &HeaderMap,
    (transport, redirects): (&FileTransport, RedirectFor<'_>),
    (repository, digest): (&RepositoryName, &Digest),
) -> Answer {
    let grant = access.grant::<Pull>(repository)?;
    let reply = |status| {
        Reply::new(status)
            .digest(digest)
            .header(header::ETAG, entity_tag(digest))
            .header(header::CACHE_CONTROL, FOR_EVER)
            .header(header::ACCEPT_RANGES, "bytes")
    };
    if not_modified(headers, digest) {
        registry.pull_blob_size(&grant, digest).await?;
        return Ok(reply(StatusCode::NOT_MODIFIED).done());
    }
    if method == Method::HEAD {
        let size = registry.pull_blob_size(&grant, digest).await?;
        let reply = reply(StatusCode::OK).header(header::CONTENT_TYPE, "application/octet-stream");
        return Ok(reply.number(header::CONTENT_LENGTH, size).done());
    }
    let content = registry.pull_blob(&grant, digest).await?;
    if let PulledBlob::Stored(stored) = &content
        && let BlobSource::Remote(remote) = &stored.handle.content
        && redirects.wanted(headers)
        && let Some(url) = remote.presign(SIGNED_FOR).await.map_err(CoreError::from)?
    {
        // A range is asked for again there. The URL is this caller's and ends soon: nobody keeps the answer.
        let reply = Reply::new(StatusCode::TEMPORARY_REDIRECT).digest(digest);
        let reply = reply.header(header::LOCATION, url).header(header::CACHE_CONTROL, "no-store");
        return Ok(reply.done());
    }
    let size = content.size();
    let range = match wanted_range(headers, digest).map(|range| ByteRange::parse(range, size)) {
        None | Some(Err(RangeError::Ignored)) => None,
        Some(Ok(range)) => Some(range),
        Some(Err(RangeError::Unsatisfiable)) => {
            let error = HttpError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                ErrorCode::RangeInvalid,
                format!("the blob has {size} bytes"),
            );
            return Err(error.with_header(header::CONTENT_RANGE, &format!("bytes */{size}")).into());
        }
    };
    let (reply, start, length) = match range {
        Some(range) => {
            let content_range = format!("bytes {}-{}/{size}", range.start, range.last);
            let reply = reply(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, content_range);
            (reply, range.start, range.len())
        }
        None => (reply(StatusCode::OK), 0, size),
    };
    let body = match content {
        _ if length == 0 => ResponseBody::empty(),
        PulledBlob::Coming(feed) => ResponseBody::remote(feed.bytes(start, length), length),
        PulledBlob::Stored(content) => match content.handle.content {
            BlobSource::File(file) => ResponseBody::file(transport, file, start, length),
            BlobSource::Remote(remote) => {
                // Begun before the status is sent: what is away or missing is told by it.
                let stream = remote.stream(start, length).await.map_err(CoreError::from)?;
                ResponseBody::remote(stream, length)
            }
        },
    };
    let reply = reply.header(header::CONTENT_TYPE, "application/octet-stream");
    Ok(reply.number(header::CONTENT_LENGTH, length).body(body).done())
}

/// The range that is asked for. With an `If-Range` it counts only if the client's part is of this content: the
/// validator compares strongly, and no date is ours (RFC 9110 section 13.1.5).
fn wanted_range<'h>(headers: &'h HeaderMap, digest: &Digest) -> Option<&'h str> {
    let same =
        headers.get(header::IF_RANGE).is_none_or(|tag| tag.as_bytes() == entity_tag(digest).as_bytes());
    if same { header_text(headers, &header::RANGE) } else { None }
}

pub(crate) async fn delete<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    (repository, digest): (&RepositoryName, &Digest),
) -> Answer {
    registry.delete_blob(&access.grant::<Delete>(repository)?, digest).await?;
    Ok(Reply::new(StatusCode::ACCEPTED).digest(digest).done())
}
