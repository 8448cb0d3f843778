//! Pulling blobs through a mirror.

use std::sync::Arc;

use registry_auth::{Grant, Pull};
use registry_blobs::{BlobSource, BlobStore};
use registry_metadata::Metadata;
use registry_types::Digest;

use super::{
    feed::{BlobFeed, SourceOf},
    fetch::wanted,
    mirror::Origin,
};
use crate::{BlobContent, CoreError, Registry};

/// Blobs up to this length are waited for: their clients get a status that tells how the download ended, and the wait
/// is short.
const WAITED_FOR: u64 = 256 << 10;

/// A blob to send.
#[derive(Debug)]
pub enum PulledBlob {
    /// It is here.
    Stored(BlobContent),
    /// It is coming in from upstream.
    Coming(BlobFeed),
}

impl PulledBlob {
    /// Length, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Stored(content) => content.handle.size,
            Self::Coming(feed) => feed.size,
        }
    }
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// As [`Registry::blob_size`]; a mirrored repository has what its upstream has.
    pub async fn pull_blob_size(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<u64, CoreError> {
        match (self.blob_size(grant, digest).await, self.origin(grant.repository())) {
            (Err(CoreError::BlobUnknown { .. }), Some(origin)) => self.upstream_size(&origin, digest).await,
            (size, _) => size,
        }
    }

    async fn upstream_size(&self, origin: &Origin, digest: &Digest) -> Result<u64, CoreError> {
        let wanted = wanted(origin, digest);
        if let Some(error) = origin.refused(&wanted) {
            return Err(error);
        }
        match origin.ask(origin.mirror.upstream.blob_size(&origin.remote, digest)).await {
            Ok(Some(size)) => Ok(size),
            Ok(None) => {
                let (repository, digest) = (origin.local.clone(), *digest);
                Err(origin.remember(wanted, CoreError::BlobUnknown { repository, digest }))
            }
            Err(error) => Err(origin.remember(wanted, origin.failure(error))),
        }
    }

    /// As [`Registry::open_blob`]; what a mirrored repository lacks is fetched.
    ///
    /// # Errors
    /// [`CoreError::Upstream`] when the upstream does not give it.
    pub async fn pull_blob(&self, grant: &Grant<Pull>, digest: &Digest) -> Result<PulledBlob, CoreError> {
        let Some(origin) = self.origin(grant.repository()) else {
            return self.open_blob(grant, digest).await.map(PulledBlob::Stored);
        };
        // The size is asked for because that renews the lease: what is used stays.
        match self.blob_size(grant, digest).await {
            Err(CoreError::BlobUnknown { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => return self.open_blob(grant, digest).await.map(PulledBlob::Stored),
        }
        let wanted = wanted(&origin, digest);
        if let Some(error) = origin.refused(&wanted) {
            return Err(error);
        }
        let download = self.download(&origin, digest);
        let size = match download.size().await {
            Ok(Some(size)) => size,
            // It was stored all the while.
            Ok(None) => return self.open_blob(grant, digest).await.map(PulledBlob::Stored),
            Err(error) => return Err(origin.remember(wanted, error)),
        };
        if size <= WAITED_FOR {
            download.ended().await?;
            return self.open_blob(grant, digest).await.map(PulledBlob::Stored);
        }
        let source_of = self.source_of(grant, digest);
        Ok(PulledBlob::Coming(BlobFeed { digest: *digest, size, download, source_of }))
    }

    fn source_of(&self, grant: &Grant<Pull>, digest: &Digest) -> SourceOf {
        let (registry, grant, digest) = (self.clone(), grant.clone(), *digest);
        Arc::new(move |progress| {
            let (registry, grant) = (registry.clone(), grant.clone());
            Box::pin(async move {
                if progress.outcome.is_some() {
                    return Ok(Some(registry.open_blob(&grant, &digest).await?.handle.content));
                }
                let Some(id) = progress.session else { return Ok(None) };
                Ok(registry.blobs.session_file(id).await?.map(BlobSource::File))
            })
        })
    }
}
