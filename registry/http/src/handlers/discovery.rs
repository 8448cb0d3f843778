//! Lists: tags, catalog, referrers (distribution specification, end-8 and end-12).

use http::{StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use registry_auth::{Access, Pull};
use registry_blobs::BlobStore;
use registry_core::{PageQuery, Registry};
use registry_metadata::{Metadata, Page};
use registry_types::{Digest, ErrorCode, MediaType, ParseError, RepositoryName};
use serde_json::json;

use super::Answer;
use crate::{
    body::ResponseBody,
    error::HttpError,
    query::Query,
    respond::{OCI_FILTERS_APPLIED, Reply, parsed},
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
    let manifests = registry.referrers(&access.grant::<Pull>(repository)?, subject, filter.as_ref()).await?;
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
    let bytes = serde_json::to_vec(&index).unwrap_or_default();
    let mut reply = Reply::new(StatusCode::OK).header(header::CONTENT_TYPE, MediaType::OCI_INDEX);
    if filter.is_some() {
        reply = reply.header(OCI_FILTERS_APPLIED, "artifactType");
    }
    Ok(reply.body(ResponseBody::full(bytes)).done())
}

fn page_query(query: &Query) -> Result<PageQuery, HttpError> {
    let n = parsed(query.get("n"), |_: std::num::ParseIntError| {
        HttpError::bad_request(ErrorCode::PaginationNumberInvalid, "n must be a number, zero or more")
    })?;
    Ok(PageQuery { n, last: query.get("last").filter(|last| !last.is_empty()).map(str::to_owned) })
}

/// The `Link` to the next page (RFC 8288), when there is one.
fn next_link<T: ToString>(path: &str, query: &PageQuery, page: &Page<T>) -> Option<String> {
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
