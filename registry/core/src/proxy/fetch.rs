//! A download: from the upstream into an upload session, and from there to a blob of the repository, in the same way
//! as a push. It goes on when those who asked for it are gone. One that fails leaves what was durable to the next.

use std::sync::Arc;

use futures_util::stream;
use registry_blobs::BlobStore;
use registry_metadata::{Metadata, UploadRecord};
use registry_types::Digest;

use super::{
    UpstreamBlob, UpstreamError,
    download::Download,
    mirror::{Origin, Wanted},
    source::{Source, Trouble},
};
use crate::{CoreError, Registry, sessions::SessionLock, upload_body::Chunks, uploads::new_upload};

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// The download of the blob: the one that goes on, or a new one.
    pub(super) fn download(&self, origin: &Origin, digest: &Digest) -> Arc<Download> {
        let (download, new) = self.mirrors.download(&origin.local, digest);
        if new {
            // Nobody pushed it, so endpoints are told of the pulls alone.
            let registry = Self { context: None, ..self.clone() };
            let (origin, digest, task) = (origin.clone(), *digest, Arc::clone(&download));
            self.running.spawn(async move {
                let fetched = registry.clone().fetch_guarded(&origin, digest, &task).await;
                if let Err(error) = &fetched {
                    let (repository, upstream) = (&origin.local, &origin.mirror.settings.name);
                    tracing::warn!(%repository, upstream, %digest, %error, "cannot fetch a blob from upstream");
                }
                // Off the list first: whoever sees the end asks anew.
                registry.mirrors.forget(&origin.local, &digest);
                task.end(fetched);
            });
        }
        download
    }

    /// A fault of the task must not leave readers waiting.
    async fn fetch_guarded(
        self,
        origin: &Origin,
        digest: Digest,
        download: &Arc<Download>,
    ) -> Result<(), CoreError> {
        let (registry, origin, download) = (self, origin.clone(), Arc::clone(download));
        let task = tokio::spawn(async move { registry.fetch(&origin, &digest, &download).await });
        task.await.unwrap_or_else(|error| Err(CoreError::Internal { reason: error.to_string() }))
    }

    async fn fetch(
        &self,
        origin: &Origin,
        digest: &Digest,
        download: &Arc<Download>,
    ) -> Result<(), CoreError> {
        // An earlier download may have ended between the look at the store and this one's start.
        if self.metadata.blob(&origin.local, digest).await?.is_some() {
            return Ok(());
        }
        let closed = |_| CoreError::Internal { reason: "downloads are closed".to_owned() };
        let _place = self.mirrors.places().acquire().await.map_err(closed)?;
        if self.link_stored(origin, digest).await? {
            return Ok(());
        }
        let (lock, record) = self.session_for(origin, digest).await?;
        let fetched = self.fetch_into(origin, digest, download, &record).await;
        let Err(error) = fetched else { return Ok(()) };
        let (error, trouble) = error;
        self.settle(&lock, &record, &error).await;
        self.leave(&lock, digest, &record, matches!(error, CoreError::BodyCut { .. })).await;
        Err(trouble.map_or(error, |trouble| origin.failure(trouble)))
    }

    /// Links a blob whose bytes another repository has, if the upstream says that it belongs to this one: a digest
    /// alone must not give content.
    async fn link_stored(&self, origin: &Origin, digest: &Digest) -> Result<bool, CoreError> {
        let Some(stored) = self.metadata.blob_anywhere(digest).await? else { return Ok(false) };
        let size = origin.ask(origin.mirror.upstream.blob_size(&origin.remote, digest)).await;
        if size.map_err(|error| origin.failure(error))? != Some(stored.size) {
            return Ok(false);
        }
        let linked = self.metadata.mount_blob(None, &origin.local, digest, self.change()).await?;
        Ok(linked.is_some())
    }

    /// The session that an earlier download left, or a new one.
    async fn session_for(
        &self,
        origin: &Origin,
        digest: &Digest,
    ) -> Result<(SessionLock, UploadRecord), CoreError> {
        if let Some(id) = self.mirrors.partials().take(&origin.local, digest) {
            let lock = self.lock_session(id).await?;
            if let Some(record) = self.metadata.claim_upload(&origin.local, &id).await? {
                return Ok((lock, record));
            }
        }
        let record = new_upload(&origin.local, digest.algorithm());
        let lock = self.lock_session(record.id).await?;
        self.metadata.create_upload(&record).await?;
        Ok((lock, record))
    }

    /// Receives the rest of the blob and stores it. The error comes with what the upstream did, if it was its doing.
    async fn fetch_into(
        &self,
        origin: &Origin,
        digest: &Digest,
        download: &Arc<Download>,
        record: &UploadRecord,
    ) -> Result<(), (CoreError, Option<UpstreamError>)> {
        let ours = |error: CoreError| (error, None);
        let theirs = |error: UpstreamError| (CoreError::BodyCut { reason: error.to_string() }, Some(error));
        let position = record.progress.length();
        let asked = origin.ask(origin.mirror.upstream.blob(&origin.remote, digest, position)).await;
        let Some(UpstreamBlob { size, bytes }) = asked.map_err(theirs)? else {
            let (repository, digest) = (origin.local.clone(), *digest);
            return Err(ours(CoreError::BlobUnknown { repository, digest }));
        };
        if position > size {
            let reason = format!("blob {digest} is shorter than what came of it before");
            return Err((CoreError::WrongLength, Some(UpstreamError::Unusable { reason })));
        }
        self.admit_blob(&origin.local, size).await.map_err(ours)?;
        download.begin(size, position, record.id);
        let trouble = Trouble::default();
        let source = Source {
            origin: origin.clone(),
            digest: *digest,
            size,
            position,
            bytes: Some(bytes),
            download: Arc::clone(download),
            stop: self.mirrors.stopping().clone(),
            trouble: trouble.clone(),
        };
        let received = self.append_to(record, Chunks::alone(source.into_body())).await;
        received.map_err(|error| (error, trouble.take()))?;
        let lost = || ours(CoreError::UploadUnknown { id: record.id });
        let claimed = self.metadata.claim_upload(&origin.local, &record.id).await;
        let whole = claimed.map_err(|error| ours(error.into()))?.ok_or_else(lost)?;
        let nothing = Chunks::alone(Box::pin(stream::empty()));
        self.complete_with(&whole, nothing, *digest).await.map_err(|error| match error {
            CoreError::DigestMismatch { expected, actual } => {
                let reason = format!("blob {expected} has the digest {actual}");
                (CoreError::DigestMismatch { expected, actual }, Some(UpstreamError::Unusable { reason }))
            }
            error => ours(error),
        })
    }

    /// Leaves a failed download's session to the next one, or ends it if there is nothing to go on from.
    async fn leave(&self, lock: &SessionLock, digest: &Digest, record: &UploadRecord, cut: bool) {
        let left = async {
            let Some(now) = self.metadata.upload(&record.repository, &record.id).await? else {
                return Ok(());
            };
            if !cut || now.progress.length() == 0 {
                return self.end_session(lock, &now).await.map(drop);
            }
            let evicted = self.mirrors.partials().leave(&record.repository, digest, record.id);
            let Some((repository, id)) = evicted else { return Ok(()) };
            let lock = self.lock_session(id).await?;
            match self.metadata.upload(&repository, &id).await? {
                Some(oldest) => self.end_session(&lock, &oldest).await.map(drop),
                None => Ok(()),
            }
        };
        let left: Result<(), CoreError> = left.await;
        if let Err(error) = left {
            tracing::warn!(id = %record.id, %error, "cannot remove the session of a download; a sweep does");
        }
    }
}

/// What an upstream refuses is refused to those who ask again at once.
pub(super) fn wanted(origin: &Origin, digest: &Digest) -> Wanted {
    Wanted::Blob(origin.local.clone(), *digest)
}
