//! Why a session takes no more bytes.

use std::{io, path::Path};

use registry_types::UploadId;

use crate::BlobError;

/// Why a session takes no more bytes. Kept, since every later call has to say it.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    Full,
    Lost,
    Io { action: &'static str, what: String, code: Option<i32>, kind: io::ErrorKind },
}

impl Failure {
    pub(super) fn of(action: &'static str, path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            kind => Self::Io { action, what: path.display().to_string(), code: error.raw_os_error(), kind },
        }
    }

    pub(super) fn error(&self, id: UploadId) -> BlobError {
        match self {
            Self::Full => BlobError::Full,
            Self::Lost => BlobError::UploadLost { id },
            Self::Io { action, what, code, kind } => {
                let source = code.map_or_else(|| (*kind).into(), io::Error::from_raw_os_error);
                BlobError::Io { action, what: what.clone(), source }
            }
        }
    }
}
