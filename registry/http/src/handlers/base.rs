//! `/v2/` and the health endpoints.

use http::StatusCode;
use registry_auth::Access;
use registry_blobs::BlobStore;
use registry_core::Registry;
use registry_metadata::Metadata;
use serde_json::json;

use super::Answer;
use crate::{readiness::Readiness, respond::Reply};

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
