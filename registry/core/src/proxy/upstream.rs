//! What a mirror asks of its upstream. The core knows no HTTP; the server implements this with the registry client.

use std::{fmt, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, future::BoxFuture};
use registry_types::{Digest, MediaType, Reference, RepositoryName};

/// An answer that comes later.
pub type UpstreamAnswer<'a, T> = BoxFuture<'a, Result<T, UpstreamError>>;

/// The bytes of a blob as they come; verified by nobody yet.
pub type UpstreamBytes = Pin<Box<dyn Stream<Item = Result<Bytes, UpstreamError>> + Send>>;

/// Another registry. `None` always means that it says to hold no such thing. One call is one try: trying again is
/// the caller's.
pub trait Upstream: fmt::Debug + Send + Sync + 'static {
    /// The digest that `reference` has now.
    fn manifest_digest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<Digest>>;

    /// The manifest, whose bytes are those of its digest.
    fn manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<UpstreamManifest>>;

    /// The length of a blob, in bytes.
    fn blob_size<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
    ) -> UpstreamAnswer<'a, Option<u64>>;

    /// A blob from byte `offset` on.
    fn blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        offset: u64,
    ) -> UpstreamAnswer<'a, Option<UpstreamBlob>>;
}

/// A manifest of an upstream, byte for byte.
#[derive(Debug, Clone)]
pub struct UpstreamManifest {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
}

/// A blob of an upstream.
pub struct UpstreamBlob {
    /// Length of the whole blob, in bytes.
    pub size: u64,
    /// The bytes from the offset that was asked for.
    pub bytes: UpstreamBytes,
}

impl fmt::Debug for UpstreamBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamBlob").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Why an upstream gave no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// It wants a login, or refuses ours. Registries also say so of what they do not have.
    #[error("wants another login, or has no such repository: {reason}")]
    Unauthorized { reason: String },
    /// The login does not reach so far.
    #[error("does not allow this: {reason}")]
    Denied { reason: String },
    /// It asks to slow down.
    #[error("takes no more requests at the moment")]
    Busy { retry_after: Option<Duration> },
    /// It cannot be reached, is silent, or failed.
    #[error("cannot answer: {reason}")]
    Away { reason: String },
    /// Its answer breaks the specification, or is not what its digest says.
    #[error("gave an answer that cannot be used: {reason}")]
    Unusable { reason: String },
}

impl UpstreamError {
    /// Whether the same may go well later, so that what is stored is good until then.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Away { .. } | Self::Unusable { .. } => true,
            Self::Unauthorized { .. } | Self::Denied { .. } => false,
        }
    }
}

/// An upstream's error with the place where it happened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{upstream}, which {repository} mirrors, {error}")]
pub struct UpstreamFailure {
    /// The upstream's name.
    pub upstream: String,
    /// The repository here.
    pub repository: RepositoryName,
    pub error: UpstreamError,
}
