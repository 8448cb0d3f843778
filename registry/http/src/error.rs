//! Errors as clients see them: the one place where a use case's error becomes a status and an OCI code.

use http::{HeaderValue, Response, StatusCode, header};
use registry_core::{CoreError, UpstreamError, UpstreamFailure};
use registry_types::{ErrorCode, ErrorEnvelope};
use serde_json::{Value, json};

use crate::body::ResponseBody;

/// An error answer.
#[derive(Debug, Clone)]
pub(crate) struct HttpError {
    pub(crate) status: StatusCode,
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) detail: Value,
    pub(crate) headers: Vec<(header::HeaderName, HeaderValue)>,
    /// What an operator should know and a client should not.
    pub(crate) internal: Option<String>,
}

impl HttpError {
    pub(crate) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            detail: Value::Null,
            headers: Vec::new(),
            internal: None,
        }
    }

    pub(crate) fn bad_request(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    #[must_use]
    pub(crate) fn with_detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(crate) fn into_response(self) -> Response<ResponseBody> {
        let envelope = ErrorEnvelope::new(self.code, self.message, self.detail);
        let bytes = serde_json::to_vec(&envelope).unwrap_or_default();
        let mut response = Response::new(ResponseBody::full(bytes));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        response
    }
}

/// Seconds after which a client may try again when the registry is short of something.
const RETRY_AFTER: &str = "5";

impl From<CoreError> for HttpError {
    fn from(error: CoreError) -> Self {
        use ErrorCode as Code;
        let message = error.to_string();
        let plain = |status, code| Self::new(status, code, message.clone());
        match error {
            CoreError::BlobUnknown { digest, .. } => {
                plain(StatusCode::NOT_FOUND, Code::BlobUnknown).with_detail(json!({ "digest": digest }))
            }
            CoreError::ManifestUnknown { reference, .. } => {
                plain(StatusCode::NOT_FOUND, Code::ManifestUnknown)
                    .with_detail(json!({ "reference": reference.to_string() }))
            }
            CoreError::RepositoryUnknown { repository } => {
                plain(StatusCode::NOT_FOUND, Code::NameUnknown).with_detail(json!({ "name": repository }))
            }
            CoreError::UploadUnknown { .. } => plain(StatusCode::NOT_FOUND, Code::BlobUploadUnknown),
            CoreError::UploadBusy { .. } => plain(StatusCode::CONFLICT, Code::BlobUploadInvalid),
            CoreError::WrongOffset { length, .. } => {
                plain(StatusCode::RANGE_NOT_SATISFIABLE, Code::RangeInvalid)
                    .with_header(header::RANGE, &upload_range(length))
                    .with_header(UPLOAD_OFFSET, &length.to_string())
            }
            CoreError::WrongLength => plain(StatusCode::BAD_REQUEST, Code::SizeInvalid),
            CoreError::DigestMismatch { expected, actual } => {
                plain(StatusCode::BAD_REQUEST, Code::DigestInvalid)
                    .with_detail(json!({ "expected": expected, "actual": actual }))
            }
            CoreError::ManifestInvalid(_) => plain(StatusCode::BAD_REQUEST, Code::ManifestInvalid),
            CoreError::MissingBlobs { missing } => plain(StatusCode::NOT_FOUND, Code::ManifestBlobUnknown)
                .with_detail(json!({ "missing": missing })),
            CoreError::ManifestTooLarge { .. } => plain(StatusCode::PAYLOAD_TOO_LARGE, Code::ManifestInvalid),
            // GitLab's registry names these so; its clients look there.
            CoreError::TagProtected { tag, .. } => plain(StatusCode::FORBIDDEN, Code::Denied)
                .with_detail(json!({ "reason": "PROTECTED_TAG", "tag": tag })),
            CoreError::TagImmutable { tag, .. } => plain(StatusCode::FORBIDDEN, Code::Denied)
                .with_detail(json!({ "reason": "IMMUTABLE_TAG", "tag": tag })),
            CoreError::QuotaExceeded { prefix, limit, used } => {
                let detail = json!({ "reason": "QUOTA_EXCEEDED", "prefix": prefix.to_string(), "limit": limit, "used": used });
                plain(StatusCode::FORBIDDEN, Code::Denied).with_detail(detail)
            }
            CoreError::BlobTooLong { limit } => {
                plain(StatusCode::PAYLOAD_TOO_LARGE, Code::SizeInvalid).with_detail(json!({ "limit": limit }))
            }
            CoreError::BodyCut { .. } => plain(StatusCode::BAD_REQUEST, Code::BlobUploadInvalid),
            CoreError::Mirrored { .. } => plain(StatusCode::FORBIDDEN, Code::Denied),
            CoreError::Upstream(failure) => Self::from(failure),
            CoreError::Full => plain(StatusCode::INSUFFICIENT_STORAGE, Code::Unavailable),
            CoreError::Unavailable { reason } => Self {
                internal: Some(reason),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Code::Unavailable,
                    "the registry cannot answer at the moment: try again",
                )
                .with_header(header::RETRY_AFTER, RETRY_AFTER)
            },
            CoreError::Internal { reason } => Self {
                internal: Some(reason),
                ..Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    Code::Unknown,
                    "the registry failed; its log says why",
                )
            },
        }
    }
}

impl From<UpstreamFailure> for HttpError {
    fn from(failure: UpstreamFailure) -> Self {
        use ErrorCode as Code;
        let plain = |status, code| Self::new(status, code, failure.to_string());
        match &failure.error {
            // Registries say so of what they do not have; no login of this client's would help.
            UpstreamError::Unauthorized { .. } => plain(StatusCode::NOT_FOUND, Code::NameUnknown),
            UpstreamError::Denied { .. } => plain(StatusCode::FORBIDDEN, Code::Denied),
            UpstreamError::Busy { retry_after } => {
                let seconds = retry_after.map(|after| after.as_secs().max(1).to_string());
                plain(StatusCode::TOO_MANY_REQUESTS, Code::TooManyRequests)
                    .with_header(header::RETRY_AFTER, seconds.as_deref().unwrap_or(RETRY_AFTER))
            }
            UpstreamError::Away { .. } => plain(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable)
                .with_header(header::RETRY_AFTER, RETRY_AFTER),
            UpstreamError::Unusable { .. } => plain(StatusCode::BAD_GATEWAY, Code::Unavailable),
        }
    }
}

/// The exact offset of an upload session. `Range` cannot tell an empty session from one of a single byte; the
/// name is that of the IETF's resumable uploads draft.
pub(crate) const UPLOAD_OFFSET: header::HeaderName = header::HeaderName::from_static("upload-offset");

/// A session's `Range`: offsets of its first and last byte; `0-0` for an empty one, as clients expect.
pub(crate) fn upload_range(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}
