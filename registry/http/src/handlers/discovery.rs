//! Lists: tags, catalog, referrers (distribution specification, end-8 and end-12).

use http::{StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use registry_auth::{Access, Pull};
use registry_blobs::BlobStore;
use registry_core::{CoreError, PageQuery, Registry};
use registry_metadata::{Metadata, Page, Referrer, ReferrerMarker};
use registry_types::{Digest, ErrorCode, MediaType, ParseError, RepositoryName};
use serde::Serialize;
use serde_json::json;

use super::Answer;
use crate::{
    body::ResponseBody,
    error::HttpError,
    query::Query,
    respond::{OCI_FILTERS_APPLIED, Reply, parsed},
    room::Room,
};

pub(crate) async fn tags<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    query: &Query,
    repository: &RepositoryName,
) -> Answer {
    let page_query = page_query(query)?;
    let page = registry.tags(&access.grant::<Pull>(repository)?, page_query.clone()).await?;
    let body = json!({ "name": repository, "tags": page.entries });
    let next = next_link(&format!("/v2/{repository}/tags/list"), &page_query, &page);
    Ok(with_link(Reply::json(StatusCode::OK, &body), next).done())
}

pub(crate) async fn catalog<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    query: &Query,
) -> Answer {
    let page_query = page_query(query)?;
    let page = registry.catalog(&access.grant_catalog()?, page_query.clone()).await?;
    let body = json!({ "repositories": page.entries });
    let next = next_link("/v2/_catalog", &page_query, &page);
    Ok(with_link(Reply::json(StatusCode::OK, &body), next).done())
}

pub(crate) async fn referrers<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    access: &Access,
    query: &Query,
    (repository, subject): (&RepositoryName, &Digest),
) -> Answer {
    let filter: Option<MediaType> = parsed(query.get("artifactType"), |error: ParseError| {
        HttpError::bad_request(ErrorCode::ManifestInvalid, error.to_string())
    })?;
    let n = page_size(query)?;
    let after: Option<ReferrerMarker> = parsed(given(query, "last"), |_: std::num::ParseIntError| {
        HttpError::bad_request(
            ErrorCode::PaginationNumberInvalid,
            "last does not stand in a Link of this list: follow the Link, or begin without last",
        )
    })?;
    let grant = access.grant::<Pull>(repository)?;
    let read = || async {
        let page = registry.referrers(&grant, subject, filter.as_ref(), (n, after)).await;
        page.map_err(HttpError::from)
    };
    // While the page becomes JSON it is there twice.
    let (page, room) = Room::of(read, |page| 2 * page_bytes(page)).await?;
    let path = format!("/v2/{repository}/referrers/{subject}");
    let next = next_referrers(&path, filter.as_ref(), n, &page);
    let index =
        ReferrersIndex { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: &page.entries };
    let mut bytes = Vec::with_capacity(page_bytes(&page));
    serde_json::to_writer(&mut bytes, &index).map_err(|error| unwritable(&error))?;
    drop(page);
    let body = match room {
        Some(room) => room.shrunk(bytes.capacity()).keep(bytes.into()),
        None => bytes.into(),
    };
    let mut reply = Reply::new(StatusCode::OK).header(header::CONTENT_TYPE, MediaType::OCI_INDEX);
    if filter.is_some() {
        reply = reply.header(OCI_FILTERS_APPLIED, "artifactType");
    }
    Ok(with_link(reply.body(ResponseBody::full(body)), next).done())
}

/// Bytes of an entry beside its types and annotations: keys, digest and size.
const ENTRY_BYTES: usize = 256;

/// What a page takes in memory and, at most, as JSON.
fn page_bytes(page: &Page<Referrer>) -> usize {
    let entry = |referrer: &Referrer| {
        let artifact_type = referrer.artifact_type.as_ref().map_or(0, |text| text.as_sent().len());
        let annotations = referrer.annotations.as_ref().map_or(0, |object| object.get().len());
        referrer.media_type.as_sent().len() + artifact_type + annotations + ENTRY_BYTES
    };
    ENTRY_BYTES + page.entries.iter().map(entry).sum::<usize>()
}

fn unwritable(error: &serde_json::Error) -> HttpError {
    CoreError::Internal { reason: format!("a list cannot be written as JSON: {error}") }.into()
}

/// The image index that lists referrers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReferrersIndex<'p> {
    schema_version: u32,
    media_type: &'static str,
    manifests: &'p [Referrer],
}

/// The `Link` to the next page of referrers, when there is one. It keeps the filter: all pages are of one list.
fn next_referrers(
    path: &str,
    filter: Option<&MediaType>,
    n: Option<usize>,
    page: &Page<Referrer>,
) -> Option<String> {
    let last = page.entries.last().filter(|_| page.more)?.marker;
    let filter = filter
        .map(|filter| format!("artifactType={}&", utf8_percent_encode(filter.as_sent(), NON_ALPHANUMERIC)));
    let n = n.map(|n| format!("n={n}&"));
    let (filter, n) = (filter.unwrap_or_default(), n.unwrap_or_default());
    Some(format!("<{path}?{filter}{n}last={last}>; rel=\"next\""))
}

pub(crate) fn page_query(query: &Query) -> Result<PageQuery, HttpError> {
    Ok(PageQuery { n: page_size(query)?, last: given(query, "last").map(str::to_owned) })
}

fn page_size(query: &Query) -> Result<Option<usize>, HttpError> {
    parsed(query.get("n"), |_: std::num::ParseIntError| {
        HttpError::bad_request(ErrorCode::PaginationNumberInvalid, "n must be a number, zero or more")
    })
}

/// A parameter that is there and not empty.
fn given<'q>(query: &'q Query, name: &str) -> Option<&'q str> {
    query.get(name).filter(|value| !value.is_empty())
}

/// The `Link` to the next page (RFC 8288), when there is one.
pub(crate) fn next_link<T: ToString>(path: &str, query: &PageQuery, page: &Page<T>) -> Option<String> {
    let last = page.entries.last().filter(|_| page.more)?.to_string();
    let last = utf8_percent_encode(&last, NON_ALPHANUMERIC);
    let n = query.n.unwrap_or(page.entries.len());
    Some(format!("<{path}?n={n}&last={last}>; rel=\"next\""))
}

fn with_link(reply: Reply, link: Option<String>) -> Reply {
    match link {
        Some(link) => reply.header(header::LINK, link),
        None => reply,
    }
}

#[cfg(test)]
mod tests;
