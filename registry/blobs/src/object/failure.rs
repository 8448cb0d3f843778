//! Why an upload takes no more bytes. Kept, since every later call has to say it.

use registry_types::UploadId;

use crate::BlobError;

#[derive(Debug, Clone)]
pub(super) enum Failure {
    Lost,
    TooLong { limit: u64 },
    Unavailable { reason: String },
    Io { action: &'static str, what: String, kind: std::io::ErrorKind, reason: String },
}

impl Failure {
    pub(super) fn error(&self, id: UploadId) -> BlobError {
        match self {
            Self::Lost => BlobError::UploadLost { id },
            Self::TooLong { limit } => BlobError::TooLong { limit: *limit },
            Self::Unavailable { reason } => BlobError::Unavailable { reason: reason.clone() },
            Self::Io { action, what, kind, reason } => BlobError::Io {
                action,
                what: what.clone(),
                source: std::io::Error::new(*kind, reason.clone()),
            },
        }
    }
}

impl From<&BlobError> for Failure {
    fn from(error: &BlobError) -> Self {
        match error {
            BlobError::TooLong { limit } => Self::TooLong { limit: *limit },
            BlobError::Unavailable { reason } => Self::Unavailable { reason: reason.clone() },
            BlobError::Io { action, what, source } => {
                Self::Io { action, what: what.clone(), kind: source.kind(), reason: source.to_string() }
            }
            // An object that an upload needs is gone, or its bytes were not what they should be.
            BlobError::UploadLost { .. }
            | BlobError::Missing { .. }
            | BlobError::DigestMismatch { .. }
            | BlobError::Full => Self::Lost,
        }
    }
}
