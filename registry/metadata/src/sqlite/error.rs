//! What SQLite's errors mean to a caller: try later, or the database is not what this program expects. A reason
//! says what to do where there is something to do; it never holds a statement's values.

use rusqlite::{Error, ErrorCode, ffi};

use crate::MetadataError;

impl From<Error> for MetadataError {
    fn from(error: Error) -> Self {
        match &error {
            Error::SqliteFailure(failure, message) => from_failure(*failure, message.as_deref()),
            Error::SqlInputError { error: failure, msg, .. } => from_failure(*failure, Some(msg)),
            // The rest is about values: a column of another type, text that does not parse, a missing row.
            _ => Self::Damaged { reason: error.to_string() },
        }
    }
}

fn from_failure(failure: ffi::Error, message: Option<&str>) -> MetadataError {
    let unavailable = |what: &str| MetadataError::Unavailable { reason: what.to_owned() };
    match failure.code {
        ErrorCode::DiskFull => MetadataError::Full,
        ErrorCode::ReadOnly => unavailable(
            "the database cannot be written: check its permissions and that its file system is not read-only",
        ),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            unavailable("another process holds the database: it was waited for and did not let go")
        }
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            unavailable("the database cannot be opened: check that its folder exists and its permissions")
        }
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => MetadataError::Damaged {
            reason: format!("{}: restore it from a backup", described(failure, message)),
        },
        ErrorCode::SystemIoFailure | ErrorCode::OutOfMemory | ErrorCode::OperationInterrupted => {
            MetadataError::Unavailable { reason: described(failure, message) }
        }
        _ => MetadataError::Damaged { reason: described(failure, message) },
    }
}

fn described(failure: ffi::Error, message: Option<&str>) -> String {
    match message {
        Some(message) => format!("{message} (SQLite code {})", failure.extended_code),
        None => failure.to_string(),
    }
}

/// For a caller whose request was dropped by a thread that ended.
pub(super) fn closed() -> MetadataError {
    MetadataError::Unavailable { reason: "it has been closed, or its thread has ended".to_owned() }
}
