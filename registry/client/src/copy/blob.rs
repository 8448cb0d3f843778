//! One blob on its way: mounted where source and target share a registry, skipped where it is there, else streamed
//! from one end to the other without touching the disk between.

use registry_types::Descriptor;

use super::{CopyEvent, Job};
use crate::{BlobContent, Error, Mount, RegistrySource, Repository, Source, target::Target};

/// Longest blob that goes through memory whole, in bytes: an upload of one request instead of three, which can be sent
/// again from its start.
const SMALL: u64 = 1 << 20;

impl Job {
    pub(super) async fn transfer(&self, blob: &Descriptor) -> Result<(), Error> {
        self.copier.tell(CopyEvent::BlobStarted { descriptor: blob.clone() });
        let how = match &self.copier.inner.target {
            Target::Registry(repository) => self.source.copy_blob(blob, repository).await?,
            target => {
                let tell = |position| {
                    self.copier.tell(CopyEvent::BlobPosition { digest: blob.digest, position });
                };
                target.put_blob(&self.source, blob, &tell).await?
            }
        };
        self.counter.blob(blob, how);
        self.copier.tell(CopyEvent::BlobDone { descriptor: blob.clone(), how });
        Ok(())
    }
}

impl Source {
    /// Copies one blob into a registry, by mount if source and target share it.
    pub async fn copy_blob(&self, blob: &Descriptor, target: &Repository) -> Result<Mount, Error> {
        match self {
            Self::Local(source) => {
                let content = source.content(blob).await?;
                target.push_blob(&blob.digest, &content, None).await
            }
            Self::Registry(source) => {
                if target.blob_exists(&blob.digest).await? {
                    return Ok(Mount::Existed);
                }
                if source.repository.registry() == target.registry()
                    && source.repository.name() != target.name()
                    && target.mount(&blob.digest, source.repository.name()).await?
                {
                    return Ok(Mount::Mounted);
                }
                source.send(blob, target).await?;
                Ok(Mount::Uploaded)
            }
        }
    }
}

impl RegistrySource {
    async fn send(&self, blob: &Descriptor, target: &Repository) -> Result<(), Error> {
        if blob.size <= SMALL {
            let content = self.repository.blob_bytes(&blob.digest, blob.size).await?;
            return target.upload(&blob.digest, &BlobContent::bytes(content)).await;
        }
        let mut attempt = 0;
        loop {
            let pieces = self.repository.blob_stream(blob).await?;
            let error = match target.upload_stream(pieces, Some(&blob.digest)).await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            // An upload goes on after a cut by itself, until the registry has lost bytes that are not kept here any
            // more, or the session: then it starts over.
            let lost = matches!(error, Error::InvalidReply { .. } | Error::NotFound { .. });
            attempt += 1;
            let pause = target.inner.retry.pause(attempt, None).filter(|_| lost || error.is_transient());
            let Some(pause) = pause else { return Err(error) };
            tracing::debug!(%error, digest = %blob.digest, "a copy starts over");
            tokio::time::sleep(pause).await;
        }
    }
}
