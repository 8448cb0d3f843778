//! Reading: blobs and manifests.

use std::sync::Arc;

use registry_auth::{Grant, Pull};
use registry_blobs::{BlobHandle, BlobStore};
use registry_metadata::{BlobRecord, ManifestRecord, Metadata, MetadataError};
use registry_types::{Digest, Reference};
use time::OffsetDateTime;

use crate::{CoreError, EventAction, Registry, events::Happening};

/// A blob to send: its digest and its bytes.
#[derive(Debug, Clone)]
pub struct BlobContent {
    pub digest: Digest,
    pub handle: BlobHandle,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// The size of a blob, in bytes, without opening it. Whoever asks may be about to push a manifest that names the
    /// blob without sending it again, so it is kept from collection for a lease from now on.
    ///
    /// # Errors
    /// [`CoreError::BlobUnknown`] when the repository does not link it.
    pub async fn blob_size(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<u64, CoreError> {
        let record = self.blob_record(grant, digest).await?;
        if let Some(until) = self.renewal(record.leased_until) {
            let renewed = self.metadata.renew_blob(grant.repository(), digest, until).await;
            if !stands(renewed) {
                return Err(blob_unknown(grant, digest));
            }
        }
        Ok(record.size)
    }

    async fn blob_record(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<BlobRecord, CoreError> {
        let record = self.metadata.blob(grant.repository(), digest).await?;
        record.ok_or_else(|| blob_unknown(grant, digest))
    }

    /// Opens a blob of the grant's repository.
    ///
    /// # Errors
    /// [`CoreError::BlobUnknown`] when the repository does not link it; [`CoreError::Internal`] when it does
    /// and the bytes are gone or of another length, which no client can have caused.
    pub async fn open_blob(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<BlobContent, CoreError> {
        let BlobRecord { size, location, .. } = self.blob_record(grant, digest).await?;
        let handle = self.blobs.open(digest, &location, size).await?;
        let handle = handle.ok_or_else(|| CoreError::Internal {
            reason: format!("the bytes of blob {digest} are missing from the store"),
        })?;
        if handle.size != size {
            return Err(CoreError::Internal {
                reason: format!("blob {digest} has {} bytes in the store instead of {size}", handle.size),
            });
        }
        self.tell_pull(&Happening::to_blob(EventAction::Pull, grant.repository(), digest, size));
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
        record.ok_or_else(|| manifest_unknown(grant, reference))
    }

    /// Tells endpoints that a manifest is sent to whoever asked for it by `reference`.
    pub fn tell_manifest_pull(&self, grant: &Grant<Pull>, reference: &Reference, manifest: &ManifestRecord) {
        let content = (&manifest.digest, &manifest.media_type, manifest.bytes.len() as u64);
        let (action, repository) = (EventAction::Pull, grant.repository());
        self.tell_pull(&Happening::to_manifest(action, repository, content, reference.tag()));
    }

    /// Keeps a manifest from collection for a lease from now on: for one who asks whether it is here, perhaps in
    /// order not to push it again.
    ///
    /// # Errors
    /// [`CoreError::ManifestUnknown`] when it has gone meanwhile.
    pub async fn keep_manifest(&self, grant: &Grant<Pull>, record: &ManifestRecord) -> Result<(), CoreError> {
        if let Some(until) = self.renewal(record.leased_until) {
            let renewed = self.metadata.renew_manifest(grant.repository(), &record.digest, until).await;
            if !stands(renewed) {
                return Err(manifest_unknown(grant, &record.digest.into()));
            }
        }
        Ok(())
    }

    /// The end of the lease to take, when less than half of the present one is left: so a blob that everybody asks
    /// for costs two writes a lease.
    fn renewal(&self, leased_until: OffsetDateTime) -> Option<OffsetDateTime> {
        let (now, lease) = (OffsetDateTime::now_utc(), self.limits.lease);
        (leased_until < now + lease / 2).then(|| now + lease)
    }
}

/// Whether what was to be renewed is here. A store that cannot write just now (its disk may be full) does not make it
/// untrue that the blob is here: at worst a push that relies on it is told later what is missing.
fn stands(renewed: Result<bool, MetadataError>) -> bool {
    renewed.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot renew a lease");
        true
    })
}

fn manifest_unknown(grant: &Grant<Pull>, reference: &Reference) -> CoreError {
    CoreError::ManifestUnknown { repository: grant.repository().clone(), reference: reference.clone() }
}

fn blob_unknown(grant: &Grant<Pull>, digest: &Digest) -> CoreError {
    CoreError::BlobUnknown { repository: grant.repository().clone(), digest: *digest }
}
