//! Where blob bytes live. One trait, [`BlobStore`], one suite that every implementation passes.
//!
//! A blob that [`BlobStore::open`] finds is whole, and durable once its commit has answered; what is being
//! uploaded is invisible to it.

mod any;
mod local;
mod object;
mod store;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use any::{AnyBlobs, AnyWriter};
pub use local::{LocalBlobs, LocalWriter};
#[cfg(any(test, feature = "suite"))]
pub use object::MemoryStore;
pub use object::{ObjectBlobs, ObjectCredentials, ObjectOptions, ObjectWriter, UPLOAD_MEMORY};
pub use store::{BlobHandle, BlobSource, BlobStore, BlobStream, BlobWriter, RemoteBlob, StoredBlob};

use registry_types::{Digest, UploadId};

/// Why a blob store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The bytes are not what the client named; they are not stored.
    #[error("the content has the digest {actual}, not {expected}: send it again")]
    DigestMismatch { expected: Digest, actual: Digest },
    /// The session's data is less than its recorded progress, or gone, or somebody else's by now.
    #[error("upload session {id} has lost its data: start the upload again")]
    UploadLost { id: UploadId },
    #[error("the disk is full: nothing of this upload was acknowledged")]
    Full,
    /// The object store takes no longer object in parts that memory can hold.
    #[error("the blob is longer than {limit} bytes: allow uploads more memory, or split it")]
    TooLong { limit: u64 },
    /// A record names bytes that are not there.
    #[error("the bytes of {what} are missing from the store")]
    Missing { what: String },
    /// The store is away or overloaded; the same may succeed later.
    #[error("{reason}")]
    Unavailable { reason: String },
    #[error("cannot {action} {what}: {source}")]
    Io { action: &'static str, what: String, source: std::io::Error },
}
