//! `/v2/`, the health endpoints and the metrics.

use http::{StatusCode, header};
use registry_auth::Access;
use registry_blobs::BlobStore;
use registry_core::{CoreError, Registry};
use registry_metadata::Metadata;
use serde_json::json;

use super::Answer;
use crate::{
    body::ResponseBody,
    metrics::{self, Metrics},
    readiness::Readiness,
    respond::Reply,
};

/// An empty object says that this is a registry and the token is good; which rights it gives does not count.
pub(crate) fn version(access: &Access) -> Answer {
    access.require_token()?;
    Ok(Reply::json(StatusCode::OK, &json!({})).done())
}

/// The process runs and answers.
pub(crate) fn live() -> Answer {
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "live" })).done())
}

/// A push would be taken.
pub(crate) async fn ready<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    readiness: &Readiness,
) -> Answer {
    readiness.of(|| registry.ready()).await?;
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "ready" })).done())
}

/// Everything that is counted, as of now.
pub(crate) async fn metrics<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    metrics: &Metrics,
) -> Answer {
    let text = metrics::text(metrics, registry.statistics().await)
        .map_err(|error| CoreError::Internal { reason: error.to_string() })?;
    Ok(Reply::new(StatusCode::OK)
        .header(header::CONTENT_TYPE, metrics::CONTENT_TYPE)
        .body(ResponseBody::full(text))
        .done())
}
