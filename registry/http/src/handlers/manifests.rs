//! Pulling, pushing and deleting manifests (distribution specification, end-3, end-7, end-9).

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use registry_auth::{Access, Delete, Grant, Pull, Push};
use registry_blobs::BlobStore;
use registry_core::{ManifestPush, PulledManifest, Registry};
use registry_metadata::{ManifestRecord, Metadata};
use registry_types::{
    ErrorCode, ManifestKind, ManifestView, MediaType, ParseError, Platform, Reference, RepositoryName, Tag,
};

use super::Answer;
use crate::{
    accept::Accept,
    body::ResponseBody,
    error::HttpError,
    incoming_body::IncomingBody,
    mirrored,
    query::Query,
    request_body::read_whole,
    respond::{OCI_SUBJECT, OCI_TAG, Reply, entity_tag, header_text, not_modified},
    room::Room,
};

/// Most tags of one push by digest; the specification asks for ten.
const MOST_TAGS: usize = 64;

pub(crate) async fn get<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    method: &Method,
    headers: &HeaderMap,
    (repository, reference): (&RepositoryName, &Reference),
) -> Answer {
    let grant = access.grant::<Pull>(repository)?;
    let accept = Accept::of(headers);
    let head = method == Method::HEAD;
    let read = || chosen(registry, &grant, reference, &accept);
    // HEAD sends none of it.
    let (PulledManifest { record, stale }, room) =
        Room::of(read, |pulled| if head { 0 } else { pulled.record.bytes.len() }).await?;
    if head {
        registry.keep_manifest(&grant, &record).await?;
    }
    let status =
        if not_modified(headers, &record.digest) { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    if !head {
        registry.note_pull(&grant, &record.digest);
    }
    let reply = Reply::new(status).digest(&record.digest).header(header::ETAG, entity_tag(&record.digest));
    let reply = mirrored::with_staleness(reply, stale);
    if status == StatusCode::NOT_MODIFIED {
        return Ok(reply.done());
    }
    if !head {
        registry.tell_manifest_pull(&grant, reference, &record);
    }
    let reply = reply
        .header(header::CONTENT_TYPE, record.media_type.as_sent())
        .number(header::CONTENT_LENGTH, record.bytes.len() as u64);
    let body = match room {
        _ if head => ResponseBody::empty(),
        Some(room) => ResponseBody::full(room.keep(record.bytes.clone())),
        None => ResponseBody::full(record.bytes.clone()),
    };
    Ok(reply.body(body).done())
}

/// The manifest under `reference`, or its child that the client can read.
async fn chosen<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    grant: &Grant<Pull>,
    reference: &Reference,
    accept: &Accept<'_>,
) -> Result<PulledManifest, HttpError> {
    let pulled = registry.pull_manifest(grant, reference).await?;
    let media_type = &pulled.record.media_type;
    // Whoever asks by digest wants exactly those bytes, whatever their type.
    if reference.tag().is_none() || accept.allows(media_type) {
        return Ok(pulled);
    }
    let child = acceptable_child(registry, grant, &pulled.record, accept).await?.ok_or_else(|| {
        HttpError::new(
            StatusCode::NOT_FOUND,
            ErrorCode::ManifestUnknown,
            format!("the manifest is of type {media_type} and the Accept header does not allow it"),
        )
    })?;
    Ok(PulledManifest { stale: pulled.stale, ..child })
}

/// Clients from before multi-platform images ask for an image manifest where an index stands. They run on
/// linux/amd64 (Docker's own rule), so they get that child if there is one.
async fn acceptable_child<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    grant: &Grant<Pull>,
    index: &ManifestRecord,
    accept: &Accept<'_>,
) -> Result<Option<PulledManifest>, HttpError> {
    let view = ManifestView::parse(&index.bytes, Some(&index.media_type));
    let Ok(view) = view else { return Ok(None) };
    if view.kind != ManifestKind::Index {
        return Ok(None);
    }
    let wanted = Platform::new("linux", "amd64", None);
    let child = view.manifests.iter().find(|child| {
        accept.allows(&child.media_type)
            && child.platform.as_ref().is_some_and(|platform| platform.satisfies(&wanted))
    });
    match child {
        Some(child) => Ok(Some(registry.pull_manifest(grant, &Reference::Digest(child.digest)).await?)),
        None => Ok(None),
    }
}

pub(crate) async fn put<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    (query, headers): (&Query, &HeaderMap),
    body: IncomingBody,
    idle: Duration,
    (repository, reference): (&RepositoryName, &Reference),
) -> Answer {
    let grant = access.grant::<Push>(repository)?;
    let media_type = header_text(headers, &header::CONTENT_TYPE)
        .map(str::parse::<MediaType>)
        .transpose()
        .map_err(|error| invalid(ErrorCode::ManifestInvalid, &error))?;
    let tags = tag_parameters(query, reference)?;
    // Kept to the end, as its room is.
    let body = read_whole(body, headers, registry.limits().manifest_bytes, idle).await?;
    let push = ManifestPush { reference: reference.clone(), media_type, bytes: body.bytes.clone(), tags };
    let pushed = registry.push_manifest(&grant, push).await?;
    let mut reply = Reply::new(StatusCode::CREATED)
        .header(header::LOCATION, format!("/v2/{repository}/manifests/{reference}"))
        .digest(&pushed.digest);
    if let Some(subject) = &pushed.subject {
        reply = reply.header(OCI_SUBJECT, subject.to_string());
    }
    if reference.digest().is_some() {
        for tag in &pushed.tags {
            reply = reply.header(OCI_TAG, tag.as_str());
        }
    }
    Ok(reply.done())
}

pub(crate) async fn delete<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    (repository, reference): (&RepositoryName, &Reference),
) -> Answer {
    registry.delete_manifest(&access.grant::<Delete>(repository)?, reference).await?;
    Ok(Reply::new(StatusCode::ACCEPTED).done())
}

fn tag_parameters(query: &Query, reference: &Reference) -> Result<Vec<Tag>, HttpError> {
    let tags: Vec<Tag> = query
        .all("tag")
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(ErrorCode::TagInvalid, &error))?;
    if !tags.is_empty() && reference.tag().is_some() {
        return Err(HttpError::bad_request(
            ErrorCode::Unsupported,
            "tag parameters go with a push by digest: /manifests/<digest>?tag=<tag>",
        ));
    }
    if tags.len() > MOST_TAGS {
        return Err(HttpError::new(
            StatusCode::URI_TOO_LONG,
            ErrorCode::TagInvalid,
            format!("at most {MOST_TAGS} tags may be pushed at once"),
        ));
    }
    Ok(tags)
}

fn invalid(code: ErrorCode, error: &ParseError) -> HttpError {
    HttpError::bad_request(code, error.to_string())
}
