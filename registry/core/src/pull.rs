//! Reading: blobs and manifests.

use std::sync::Arc;

use registry_auth::{Grant, Pull};
use registry_blobs::{BlobHandle, BlobStore};
use registry_metadata::{ManifestRecord, Metadata};
use registry_types::{Digest, Reference};

use crate::{CoreError, Registry};

/// A blob to send: its digest and the open file.
#[derive(Debug, Clone)]
pub struct BlobContent {
    pub digest: Digest,
    pub handle: BlobHandle,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// The size of a blob, in bytes, without opening it.
    ///
    /// # Errors
    /// [`CoreError::BlobUnknown`] when the repository does not link it.
    pub async fn blob_size(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<u64, CoreError> {
        let record = self.metadata.blob(grant.repository(), digest).await?;
        Ok(record.ok_or_else(|| blob_unknown(grant, digest))?.size)
    }

    /// Opens a blob of the grant's repository.
    ///
    /// # Errors
    /// [`CoreError::BlobUnknown`] when the repository does not link it; [`CoreError::Internal`] when it does
    /// and the bytes are gone or of another length, which no client can have caused.
    pub async fn open_blob(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<BlobContent, CoreError> {
        let size = self.blob_size(grant, digest).await?;
        let handle = self.blobs.open(digest).await?;
        let handle = handle.ok_or_else(|| CoreError::Internal {
            reason: format!("the bytes of blob {digest} are missing from the store"),
        })?;
        if handle.size != size {
            return Err(CoreError::Internal {
                reason: format!("blob {digest} has {} bytes in the store instead of {size}", handle.size),
            });
        }
        Ok(BlobContent { digest: *digest, handle })
    }

    /// # Errors
    /// [`CoreError::ManifestUnknown`] when the repository has no such tag or digest.
    pub async fn manifest(
        &self,
        grant: &Grant<Pull>,
        reference: &Reference,
    ) -> Result<Arc<ManifestRecord>, CoreError> {
        let record = self.metadata.manifest(grant.repository(), reference).await?;
        record.ok_or_else(|| CoreError::ManifestUnknown {
            repository: grant.repository().clone(),
            reference: reference.clone(),
        })
    }
}

fn blob_unknown(grant: &Grant<Pull>, digest: &Digest) -> CoreError {
    CoreError::BlobUnknown { repository: grant.repository().clone(), digest: *digest }
}
