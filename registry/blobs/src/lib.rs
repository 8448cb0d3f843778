//! Where blob bytes live. One trait, [`BlobStore`], one suite that every implementation passes.
//!
//! A blob that [`BlobStore::open`] finds is whole, and durable once its commit has answered; what is being
//! uploaded is invisible to it.

mod local;
mod store;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use local::{LocalBlobs, LocalWriter};
pub use store::{BlobHandle, BlobStore, BlobWriter};

use registry_types::{Digest, UploadId};

/// Why a blob store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are not what the client named; they are not stored.
    #[error("the content has the digest {actual}, not {expected}: send it again")]
    DigestMismatch { expected: Digest, actual: Digest },
    /// The session's file is shorter than its recorded progress, or gone.
    #[error("upload session {id} has lost its data: start the upload again")]
    UploadLost { id: UploadId },
    #[error("the disk is full: nothing of this upload was acknowledged")]
    Full,
    #[error("cannot {action} {what}: {source}")]
    Io { action: &'static str, what: String, source: std::io::Error },
}
