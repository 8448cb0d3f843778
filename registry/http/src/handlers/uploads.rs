//! Pushing blobs (distribution specification, "Pushing blobs": end-4 to end-6, end-11, end-13, end-14).
//! Every `Location` is a path without scheme and host: no proxy and no odd port can break it.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use registry_auth::{Access, MissingToken, Pull, Push};
use registry_blobs::BlobStore;
use registry_core::{CoreError, Mounted, Registry, UploadStatus};
use registry_metadata::Metadata;
use registry_types::{Algorithm, ContentRange, Digest, ErrorCode, ParseError, RepositoryName, UploadId};

use super::{Answer, Failure};
use crate::{
    authentication::Authenticator,
    error::{HttpError, UPLOAD_OFFSET, upload_range},
    incoming_body::IncomingBody,
    query::Query,
    request_body::{content_length, upload_stream},
    respond::{DOCKER_UPLOAD_UUID, Reply, parsed},
};

/// POST: mounts a blob, takes one whole, or starts a session.
pub(crate) async fn start<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    (authenticator, access): (&Authenticator, &Access),
    (query, headers): (&Query, &HeaderMap),
    body: IncomingBody,
    idle: Duration,
    repository: &RepositoryName,
) -> Answer {
    let grant = access.grant::<Push>(repository)?;
    if let Some(digest) = digest_parameter(query, "mount")? {
        let from: Option<RepositoryName> =
            parsed(query.get("from").filter(|from| !from.is_empty()), |error| {
                invalid(ErrorCode::NameInvalid, &error)
            })?;
        let from_grant = match from.map(|from| (access.grant::<Pull>(&from), from)) {
            Some((Ok(grant), _)) => Some(grant),
            // A better token would help. The challenge names all it must give: clients ask for just that.
            Some((Err(denied), from)) if authenticator.would_grant_pull(registry, access, &from).await? => {
                let nothing = Access::without_token(MissingToken::Absent);
                return Err(match nothing.grant::<Push>(repository) {
                    Err(push) => denied.and(push),
                    Ok(_) => denied,
                }
                .into());
            }
            // A source that the caller may not read is treated like one that has no such blob: the specification
            // lets the client upload instead, and the answer tells nothing about the other repository. Another
            // 401 would make many clients give up the push.
            Some((Err(_), _)) | None => None,
        };
        let everywhere = if query.get("from").is_none() { access.grant_catalog().ok() } else { None };
        return Ok(match registry.mount(&grant, from_grant.as_ref(), everywhere.as_ref(), &digest).await? {
            Mounted::Linked => created(repository, &digest),
            Mounted::Upload(status) => accepted(repository, StatusCode::ACCEPTED, status),
        });
    }
    if let Some(digest) = digest_parameter(query, "digest")? {
        let admission = registry.admit(&grant, None, content_length(headers)).await?;
        registry.push_blob(&grant, admission.bound(upload_stream(body, idle)), digest).await?;
        return Ok(created(repository, &digest));
    }
    registry.admit(&grant, None, None).await?;
    let algorithm = parsed(query.get("digest-algorithm"), |error| invalid(ErrorCode::DigestInvalid, &error))?;
    let status = registry.start_upload(&grant, algorithm.unwrap_or(Algorithm::Sha256)).await?;
    Ok(accepted(repository, StatusCode::ACCEPTED, status))
}

/// GET: how far the session is. What a request that is still sending has written counts once it is durable.
pub(crate) async fn status<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    (repository, id): (&RepositoryName, UploadId),
) -> Answer {
    let status = registry.upload_status(&access.grant::<Push>(repository)?, id).await?;
    Ok(accepted(repository, StatusCode::NO_CONTENT, status))
}

/// PATCH: a chunk, or the whole blob without a length.
pub(crate) async fn append<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    headers: &HeaderMap,
    body: IncomingBody,
    idle: Duration,
    (repository, id): (&RepositoryName, UploadId),
) -> Answer {
    let grant = access.grant::<Push>(repository)?;
    let range = content_range(headers)?;
    let admission = registry.admit(&grant, Some(id), content_length(headers)).await?;
    let appended = registry.append(&grant, id, range, admission.bound(upload_stream(body, idle))).await;
    let status = appended.map_err(|error| with_location(error, repository))?;
    Ok(accepted(repository, StatusCode::ACCEPTED, status))
}

/// PUT: an optional last chunk, and the end of the session.
pub(crate) async fn complete<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    (query, headers): (&Query, &HeaderMap),
    body: IncomingBody,
    idle: Duration,
    (repository, id): (&RepositoryName, UploadId),
) -> Answer {
    let grant = access.grant::<Push>(repository)?;
    let digest = digest_parameter(query, "digest")?.ok_or_else(|| {
        HttpError::bad_request(
            ErrorCode::DigestInvalid,
            "the request needs ?digest=<digest of the whole blob>",
        )
    })?;
    let range = content_range(headers)?;
    let admission = registry.admit(&grant, Some(id), content_length(headers)).await?;
    let body = admission.bound(upload_stream(body, idle));
    let completed = registry.complete(&grant, id, range, body, digest).await;
    completed.map_err(|error| with_location(error, repository))?;
    Ok(created(repository, &digest))
}

/// DELETE: ends the session without a blob.
pub(crate) async fn cancel<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    (repository, id): (&RepositoryName, UploadId),
) -> Answer {
    registry.cancel_upload(&access.grant::<Push>(repository)?, id).await?;
    Ok(Reply::new(StatusCode::NO_CONTENT).done())
}

fn created(repository: &RepositoryName, digest: &Digest) -> http::Response<crate::body::ResponseBody> {
    Reply::new(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{repository}/blobs/{digest}"))
        .digest(digest)
        .done()
}

fn accepted(
    repository: &RepositoryName,
    status: StatusCode,
    upload: UploadStatus,
) -> http::Response<crate::body::ResponseBody> {
    Reply::new(status)
        .header(header::LOCATION, location(repository, upload.id))
        .header(header::RANGE, upload_range(upload.length))
        .number(UPLOAD_OFFSET, upload.length)
        .header(DOCKER_UPLOAD_UUID, upload.id.to_string())
        .done()
}

fn location(repository: &RepositoryName, id: UploadId) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// A client that sent the wrong offset needs to know where to go on.
fn with_location(error: CoreError, repository: &RepositoryName) -> Failure {
    let id = match &error {
        CoreError::WrongOffset { id, .. } => Some(*id),
        _ => None,
    };
    let error = HttpError::from(error);
    match id {
        Some(id) => error.with_header(header::LOCATION, &location(repository, id)).into(),
        None => error.into(),
    }
}

/// The chunk's place, compared with its length where that is told, before a byte of it is read.
pub(crate) fn content_range(headers: &HeaderMap) -> Result<Option<ContentRange>, HttpError> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(None) };
    // A value that is no text is a malformed one, not an absent one.
    let range = value.to_str().ok().and_then(ContentRange::parse).ok_or_else(|| {
        HttpError::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            ErrorCode::RangeInvalid,
            "Content-Range must read <first byte>-<last byte>",
        )
    })?;
    match content_length(headers) {
        // An empty chunk cannot be written as first-last; clients send `0-0` for it.
        Some(length) if length != 0 && length != range.last - range.start + 1 => {
            Err(CoreError::WrongLength.into())
        }
        _ => Ok(Some(range)),
    }
}

fn digest_parameter(query: &Query, name: &str) -> Result<Option<Digest>, HttpError> {
    parsed(query.get(name), |error| invalid(ErrorCode::DigestInvalid, &error))
}

fn invalid(code: ErrorCode, error: &ParseError) -> HttpError {
    HttpError::bad_request(code, error.to_string())
}
