//! What the registry knows besides blob bytes: repositories, tags, manifests, upload sessions, accounts, rules
//! and keys. One trait, [`Metadata`], made of one for each subject; one suite that every engine passes.
//!
//! A method that returns `Ok` has committed durably; a method that returns `Err` has changed nothing.

mod any;
mod cache;
mod manifest_rows;
mod postgres;
mod records;
mod sqlite;
#[cfg(feature = "suite")]
pub mod suite;
mod summary;
mod traits;
mod verdict;

pub use any::AnyMetadata;
pub use postgres::{POSTGRES_CONNECTIONS, PostgresMetadata, PostgresOptions};
#[cfg(feature = "suite")]
pub use postgres::{TestCluster, TestDatabase};
pub(crate) use records::later;
pub use records::*;
pub use registry_types::UploadProgress;
pub use sqlite::{SqliteMetadata, SqliteOptions};
pub use summary::{TableTotal, summarize};
pub use traits::*;

/// Why the metadata store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Parts that a manifest names are not in its repository; nothing was stored.
    #[error("the repository lacks {} that the manifest names", missing_list(.missing))]
    MissingBlobs { missing: Vec<registry_types::Digest> },
    /// The tag names another manifest and must stay on it; nothing was stored.
    #[error("the tag {tag} is immutable and names another manifest: push under another tag")]
    TagImmutable { tag: registry_types::Tag },
    /// The blob has no room; nothing was stored.
    #[error(
        "the quota of {limit} bytes for {prefix} does not allow it: {used} bytes are used; delete something or \
         raise the quota"
    )]
    QuotaExceeded { prefix: registry_types::PathPrefix, limit: u64, used: u64 },
    /// The session has ended or was claimed by another writer; nothing was stored.
    #[error("upload session {id} has ended or is another request's: start the upload again")]
    UploadLost { id: registry_types::UploadId },
    #[error("{what} exists already")]
    AlreadyExists { what: String },
    #[error("the disk of the metadata store is full: free space on the disk of the data folder")]
    Full,
    /// The store is away or busy; the same call may succeed later.
    #[error("the metadata store cannot answer: {reason}")]
    Unavailable { reason: String },
    /// A row that this program cannot read, or a schema of a newer program.
    #[error("the metadata store is damaged or of another version: {reason}")]
    Damaged { reason: String },
}

fn missing_list(missing: &[registry_types::Digest]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
