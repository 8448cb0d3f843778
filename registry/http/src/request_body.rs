//! Request bodies as streams with a limit on how long they may be idle, and small ones as bytes with a limit on
//! their length.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use registry_core::{BodyError, UploadBody};
use registry_types::ErrorCode;

use crate::error::HttpError;

/// Turns a body into chunks. Silence of `idle` ends it with an error.
pub(crate) fn upload_stream(body: Incoming, idle: Duration) -> UploadBody {
    Box::pin(stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        loop {
            let frame = match tokio::time::timeout(idle, body.frame()).await {
                Err(_) => {
                    let reason = format!("no byte came for {} seconds", idle.as_secs());
                    return Some((Err(BodyError(reason)), None));
                }
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some((Err(BodyError(error.to_string())), None)),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers carry nothing for a registry.
            if let Ok(chunk) = frame.into_data() {
                return Some((Ok(chunk), Some(body)));
            }
        }
    }))
}

/// Reads a whole body of at most `limit` bytes.
pub(crate) async fn read_whole(
    mut body: Incoming,
    headers: &HeaderMap,
    limit: usize,
    idle: Duration,
) -> Result<Bytes, HttpError> {
    let too_large = || {
        HttpError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::ManifestInvalid,
            format!("the body is larger than {limit} bytes"),
        )
    };
    if content_length(headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut whole = BytesMut::with_capacity(body.size_hint().lower().min(limit as u64) as usize);
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => {
                let message = format!("no byte of the body came for {} seconds", idle.as_secs());
                return Err(HttpError::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Unknown, message));
            }
            Ok(None) => return Ok(whole.freeze()),
            Ok(Some(frame)) => frame.map_err(|error| {
                HttpError::bad_request(ErrorCode::Unknown, format!("the body did not arrive whole: {error}"))
            })?,
        };
        if let Ok(chunk) = frame.into_data() {
            if whole.len() + chunk.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
        }
    }
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
