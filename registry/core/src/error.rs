//! What can go wrong, as a client can act on it.

use registry_blobs::BlobError;
use registry_metadata::MetadataError;
use registry_types::{Action, Digest, ParseError, PathPrefix, Reference, RepositoryName, Tag, UploadId};

use crate::BodyError;

use crate::{proxy::UpstreamFailure, statistics};

#[derive(Debug, Clone, thiserror::Error)]
pub enum CoreError {
    #[error("repository {repository} has no blob {digest}")]
    BlobUnknown { repository: RepositoryName, digest: Digest },
    #[error("repository {repository} has no manifest {reference}")]
    ManifestUnknown { repository: RepositoryName, reference: Reference },
    #[error("there is no repository {repository}")]
    RepositoryUnknown { repository: RepositoryName },
    #[error("there is no upload session {id}: it ended, was cancelled or never was; start a new one")]
    UploadUnknown { id: UploadId },
    #[error("upload session {id} is being written by another request: wait for it to end")]
    UploadBusy { id: UploadId },
    /// The chunk does not begin where the session ends.
    #[error("the chunk must begin at byte {length}")]
    WrongOffset { id: UploadId, length: u64 },
    /// The chunk is longer or shorter than its `Content-Range` says.
    #[error("the chunk's length is not that of its Content-Range")]
    WrongLength,
    #[error("the content has the digest {actual}, not {expected}")]
    DigestMismatch { expected: Digest, actual: Digest },
    #[error(transparent)]
    ManifestInvalid(#[from] ParseError),
    #[error("the repository lacks blobs that the manifest names: push them first")]
    MissingBlobs { missing: Vec<Digest> },
    #[error("the manifest is larger than {limit} bytes")]
    ManifestTooLarge { limit: usize },
    #[error("the blob is longer than {limit} bytes, the most that is taken here")]
    BlobTooLong { limit: u64 },
    /// A tag rule is for others.
    #[error("the tag {tag} of {repository} is protected: {rule}, who alone may {action} it")]
    TagProtected { repository: RepositoryName, tag: Tag, action: Action, rule: String },
    /// The tag stays on what it names.
    #[error("the tag {tag} of {repository} is immutable: {rule}; {}", way_out(*.action))]
    TagImmutable { repository: RepositoryName, tag: Tag, action: Action, rule: String },
    #[error(
        "the quota of {limit} bytes for {prefix} has no room for this: {used} bytes are used; delete something or \
         have the quota raised"
    )]
    QuotaExceeded { prefix: PathPrefix, limit: u64, used: u64 },
    #[error("the request's body did not arrive whole: {reason}")]
    BodyCut { reason: String },
    #[error(
        "{repository} mirrors {upstream}: nothing can be pushed into it; push elsewhere, or to the upstream"
    )]
    Mirrored { repository: RepositoryName, upstream: String },
    #[error(transparent)]
    Upstream(#[from] UpstreamFailure),
    #[error("the disk is full; nothing of this request was acknowledged")]
    Full,
    #[error("the registry cannot do this at the moment: {reason}")]
    Unavailable { reason: String },
    #[error("internal error: {reason}")]
    Internal { reason: String },
}

fn way_out(action: Action) -> &'static str {
    match action {
        Action::Delete => "it cannot be deleted",
        Action::Pull | Action::Push => "push under another tag",
    }
}

impl From<BodyError> for CoreError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Cut(reason) => Self::BodyCut { reason },
            BodyError::Refused(refusal) => *refusal,
        }
    }
}

impl From<BlobError> for CoreError {
    fn from(error: BlobError) -> Self {
        if matches!(
            error,
            BlobError::Full
                | BlobError::Io { .. }
                | BlobError::Missing { .. }
                | BlobError::Unavailable { .. }
        ) {
            statistics::blobs_failed();
        }
        match error {
            BlobError::DigestMismatch { expected, actual } => Self::DigestMismatch { expected, actual },
            BlobError::UploadLost { id } => Self::UploadUnknown { id },
            BlobError::Full => Self::Full,
            BlobError::TooLong { limit } => Self::BlobTooLong { limit },
            BlobError::Unavailable { reason } => Self::Unavailable { reason },
            error @ (BlobError::Io { .. } | BlobError::Missing { .. }) => {
                Self::Internal { reason: error.to_string() }
            }
        }
    }
}

impl From<MetadataError> for CoreError {
    fn from(error: MetadataError) -> Self {
        if matches!(
            error,
            MetadataError::Full | MetadataError::Unavailable { .. } | MetadataError::Damaged { .. }
        ) {
            statistics::metadata_failed();
        }
        match error {
            MetadataError::MissingBlobs { missing } => Self::MissingBlobs { missing },
            MetadataError::QuotaExceeded { prefix, limit, used } => {
                Self::QuotaExceeded { prefix, limit, used }
            }
            MetadataError::Full => Self::Full,
            MetadataError::UploadLost { id } => Self::UploadUnknown { id },
            MetadataError::Unavailable { reason } => Self::Unavailable { reason },
            error => Self::Internal { reason: error.to_string() },
        }
    }
}
