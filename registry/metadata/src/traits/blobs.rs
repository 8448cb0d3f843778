//! Blobs, as repositories see them.

use std::future::Future;

use registry_types::{Digest, RepositoryName, UploadId};
use time::OffsetDateTime;

use super::Answer;
use crate::{BlobRecord, Change, NewBlob};

pub trait BlobMetadata: Clone + Send + Sync + 'static {
    /// The blob, if `repository` links it, with the lease of that link.
    fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> impl Future<Output = Answer<Option<BlobRecord>>> + Send;

    /// The blob, if any repository links it: its bytes need not be uploaded again. With the lease of the blob.
    fn blob_anywhere(&self, digest: &Digest) -> impl Future<Output = Answer<Option<BlobRecord>>> + Send;

    /// Links a blob whose bytes are durable, creating the repository if new, and ends `upload`, a session and its
    /// writer, in the same transaction. Gives the blob as it stands: when its location is another than that of
    /// `blob`, the bytes were here already, and the new ones, if they have a key, are on the list of removals. A
    /// key that the repository's blob has already was linked by an earlier call whose answer was lost: then there
    /// need be no session any more.
    ///
    /// # Errors
    /// [`UploadLost`](crate::MetadataError::UploadLost) and
    /// [`QuotaExceeded`](crate::MetadataError::QuotaExceeded): nothing was changed.
    fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &NewBlob,
        upload: Option<(&UploadId, u64)>,
        change: Change,
    ) -> impl Future<Output = Answer<BlobRecord>> + Send;

    /// Links `digest` to `to` if `from` links it (or, without `from`, if any repository does). `None`: it does not.
    ///
    /// # Errors
    /// [`QuotaExceeded`](crate::MetadataError::QuotaExceeded): nothing was changed.
    fn mount_blob(
        &self,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> impl Future<Output = Answer<Option<BlobRecord>>> + Send;

    /// Removes the link; false when there was none. Manifests that name the blob stay.
    fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Keeps the link from collection until `until`, if its lease is not longer already. False: the repository
    /// does not link the blob any more, so do not answer that it does.
    fn renew_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: OffsetDateTime,
    ) -> impl Future<Output = Answer<bool>> + Send;
}
