//! Upload sessions: start, append, ask, cancel, complete, and mounting instead of uploading.
//!
//! The crash argument. A session's row says how many bytes are durable and holds the hash state over exactly
//! those; it is written only after the blob store has synced them, at the end of every append and every
//! [`CHECKPOINT_BYTES`] inside one. Completing syncs the bytes, renames them into place, syncs the directory,
//! and only then links the blob and ends the session in one transaction. So after a crash at any point a
//! session goes on from its row, or the blob is whole and linked, or the client was told nothing.
//!
//! A request that fails leaves its session's data as long as the row says, so that what nobody was promised takes
//! no room. A session ends data first, row second: a row without data is found and removed, data without a row
//! would only be in the way.
//!
//! Several replicas: each request that goes on with a session claims its row, and from then on no earlier one
//! records progress, links the blob or removes the data.

use std::pin::pin;

use futures_util::future::OptionFuture;
use registry_auth::{CatalogGrant, Grant, Pull, Push};
use registry_blobs::{BlobStore, BlobWriter};
use registry_metadata::{Metadata, UploadRecord};
use registry_types::{
    Algorithm, ContentRange, Digest, DigestHasher, RepositoryName, UploadId, UploadProgress,
};
use time::OffsetDateTime;

use crate::{
    CoreError, Registry,
    events::Happening,
    sessions::SessionLock,
    upload_body::{Chunks, UploadBody},
};

/// Bytes between two checkpoints of one append: a client whose server died sends at most this much again.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// For requests whose bytes are sent again from their start when they are cut.
pub(crate) const NEVER: u64 = u64::MAX;

/// A session as its client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadStatus {
    pub id: UploadId,
    /// Bytes received and durable.
    pub length: u64,
}

/// What became of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    Linked,
    /// The blob cannot be mounted; the client is to upload it through this session.
    Upload(UploadStatus),
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Starts a session that will be hashed with `algorithm`.
    pub async fn start_upload(
        &self,
        grant: &Grant<Push>,
        algorithm: Algorithm,
    ) -> Result<UploadStatus, CoreError> {
        self.refuse_mirrored(grant.repository())?;
        let upload = new_upload(grant.repository(), algorithm);
        self.metadata.create_upload(&upload).await?;
        Ok(UploadStatus { id: upload.id, length: 0 })
    }

    /// What the session's row says, at once: a request that is still writing makes it more.
    pub async fn upload_status(&self, grant: &Grant<Push>, id: UploadId) -> Result<UploadStatus, CoreError> {
        let record = self.upload_record(grant, id).await?;
        Ok(UploadStatus { id, length: record.progress.length() })
    }

    /// Ends a session and removes its data.
    pub async fn cancel_upload(&self, grant: &Grant<Push>, id: UploadId) -> Result<(), CoreError> {
        let lock = self.lock_session(id).await?;
        let record = self.upload_record(grant, id).await?;
        if self.end_session(&lock, &record).await? { Ok(()) } else { Err(CoreError::UploadUnknown { id }) }
    }

    /// Appends a chunk. What arrived before a cut is kept, and the session's status tells how much that is.
    ///
    /// # Errors
    /// [`CoreError::WrongOffset`] when `range` does not begin where the session ends; nothing is read then.
    /// [`CoreError::WrongLength`] when the chunk is not as long as `range`; nothing of it is kept then.
    pub async fn append(
        &self,
        grant: &Grant<Push>,
        id: UploadId,
        range: Option<ContentRange>,
        body: UploadBody,
    ) -> Result<UploadStatus, CoreError> {
        let (registry, grant) = (self.clone(), grant.clone());
        // In a task of its own: when the connection dies the request's future is dropped, and what has arrived
        // must still become durable and be recorded.
        let task = self.running.spawn(async move {
            let lock = registry.lock_session(id).await?;
            let record = registry.claim_upload(&grant, id, range).await?;
            let appended = registry.append_to(&record, Chunks::of_session(body, range, &lock)).await;
            if let Err(error) = &appended {
                registry.settle(&lock, &record, error).await;
            }
            appended
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    pub(crate) async fn append_to(
        &self,
        record: &UploadRecord,
        chunks: Chunks<'_>,
    ) -> Result<UploadStatus, CoreError> {
        let id = record.id;
        let mut writer = self.blobs.resume(id, record.writer, &record.progress).await?;
        let received = self.receive(record, &mut writer, chunks, CHECKPOINT_BYTES).await;
        match received {
            Ok(()) | Err(CoreError::BodyCut { .. }) => {}
            Err(CoreError::WrongLength) => {
                // Checkpoints on the way may have recorded a part of it.
                self.save_progress(record, &record.progress).await?;
                return Err(CoreError::WrongLength);
            }
            Err(error) => return Err(error),
        }
        let progress = writer.leave().await?;
        let length = progress.length();
        self.save_progress(record, &progress).await?;
        received?;
        Ok(UploadStatus { id, length })
    }

    /// Takes an optional last chunk, verifies the whole against `expected` and makes it a blob of the repository.
    ///
    /// # Errors
    /// [`CoreError::DigestMismatch`]: the session is over and its data removed.
    pub async fn complete(
        &self,
        grant: &Grant<Push>,
        id: UploadId,
        range: Option<ContentRange>,
        body: UploadBody,
        expected: Digest,
    ) -> Result<(), CoreError> {
        let (registry, grant) = (self.clone(), grant.clone());
        let task = self.running.spawn(async move {
            let lock = registry.lock_session(id).await?;
            let record = registry.claim_upload(&grant, id, range).await?;
            let chunks = Chunks::of_session(body, range, &lock);
            let completed = registry.complete_with(&record, chunks, expected).await;
            if let Err(error) = &completed {
                registry.settle(&lock, &record, error).await;
            }
            completed
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    /// On an error the session stays where its row says; the client may send the chunk again.
    pub(crate) async fn complete_with(
        &self,
        record: &UploadRecord,
        chunks: Chunks<'_>,
        expected: Digest,
    ) -> Result<(), CoreError> {
        let mut writer = self.blobs.resume(record.id, record.writer, &record.progress).await?;
        let received = self.receive(record, &mut writer, chunks, NEVER).await;
        if received.is_err() && self.blobs.records_sessions() {
            // The store may have asked for a record on the way; the chunk is sent again from its start.
            self.save_progress(record, &record.progress).await?;
        }
        received?;
        // What was acknowledged must outlive a crash inside the commit, when the bytes are a blob already and not
        // linked: a record that covers the whole of them lets the store find them again.
        if record.progress.length() > 0 && writer.length() > record.progress.length() {
            let progress = writer.checkpoint().await?;
            self.save_progress(record, &progress).await?;
        }
        let _storing = self.digests.storing(&expected).await;
        let stored = writer.commit(&expected).await?;
        self.link(&record.repository, expected, stored, Some(record)).await
    }

    /// Links a blob of `from` to the grant's repository. Without `from` only a caller who may see every
    /// repository gets blobs of any: to others a digest alone must not give content.
    pub async fn mount(
        &self,
        grant: &Grant<Push>,
        from: Option<&Grant<Pull>>,
        everywhere: Option<&CatalogGrant>,
        digest: &Digest,
    ) -> Result<Mounted, CoreError> {
        let to = grant.repository();
        self.refuse_mirrored(to)?;
        let source = match (from, everywhere) {
            (Some(from), _) => Some(from.repository()),
            (None, Some(_)) => None,
            (None, None) => Some(to),
        };
        let mounted = Happening::mounted(to, from.map(Grant::repository), digest);
        let linked = self.metadata.mount_blob(source, to, digest, self.telling(mounted)).await?;
        self.told();
        match linked {
            Some(_) => Ok(Mounted::Linked),
            None => Ok(Mounted::Upload(self.start_upload(grant, digest.algorithm()).await?)),
        }
    }

    pub(crate) async fn lock_session(&self, id: UploadId) -> Result<SessionLock, CoreError> {
        self.sessions.take(id).await.ok_or(CoreError::UploadBusy { id })
    }

    async fn upload_record(&self, grant: &Grant<Push>, id: UploadId) -> Result<UploadRecord, CoreError> {
        self.refuse_mirrored(grant.repository())?;
        let record = self.metadata.upload(grant.repository(), &id).await?;
        record.ok_or(CoreError::UploadUnknown { id })
    }

    /// The session, on which this request alone goes on, if `range` begins where it ends.
    async fn claim_upload(
        &self,
        grant: &Grant<Push>,
        id: UploadId,
        range: Option<ContentRange>,
    ) -> Result<UploadRecord, CoreError> {
        self.refuse_mirrored(grant.repository())?;
        if range.is_some() {
            // A request that is refused does not take the session from another.
            check_offset(id, range, self.upload_record(grant, id).await?.progress.length())?;
        }
        let claimed = self.metadata.claim_upload(grant.repository(), &id).await?;
        let record = claimed.ok_or(CoreError::UploadUnknown { id })?;
        check_offset(id, range, record.progress.length())?;
        Ok(record)
    }

    pub(crate) async fn save_progress(
        &self,
        record: &UploadRecord,
        progress: &UploadProgress,
    ) -> Result<(), CoreError> {
        let UploadRecord { id, writer, .. } = *record;
        if self.metadata.save_progress(&id, writer, progress, OffsetDateTime::now_utc()).await? {
            Ok(())
        } else {
            Err(CoreError::UploadUnknown { id })
        }
    }

    /// Writes the body, recording progress on the way while more is being received: after every `step` bytes, and
    /// when the store asks for it.
    pub(crate) async fn receive(
        &self,
        record: &UploadRecord,
        writer: &mut B::Writer,
        mut chunks: Chunks<'_>,
        step: u64,
    ) -> Result<(), CoreError> {
        let (mut recorded, mut under_way) = (writer.length(), false);
        let mut checkpoint = pin!(OptionFuture::default());
        loop {
            tokio::select! {
                biased;
                Some(progress) = &mut checkpoint => {
                    self.save_progress(record, &progress?).await?;
                    checkpoint.set(OptionFuture::default());
                    under_way = false;
                }
                chunk = chunks.next() => {
                    let Some(chunk) = chunk? else { break };
                    writer.write(chunk).await?;
                    let due = writer.wants_record() || writer.length() - recorded >= step;
                    if due && !under_way {
                        recorded = writer.length();
                        under_way = true;
                        checkpoint.set(Some(writer.checkpoint_on_the_way()).into());
                    }
                }
            }
        }
        // What was asked for counts as recorded when the store is asked next.
        if under_way
            && self.blobs.records_sessions()
            && let Some(progress) = checkpoint.await
        {
            self.save_progress(record, &progress?).await?;
        }
        Ok(())
    }
}

/// A session that nobody has begun to write.
pub(crate) fn new_upload(repository: &RepositoryName, algorithm: Algorithm) -> UploadRecord {
    let now = OffsetDateTime::now_utc();
    UploadRecord {
        id: UploadId::random(),
        repository: repository.clone(),
        started_at: now,
        touched_at: now,
        progress: DigestHasher::new(algorithm).save().into(),
        writer: 0,
    }
}

fn check_offset(id: UploadId, range: Option<ContentRange>, length: u64) -> Result<(), CoreError> {
    match range {
        Some(range) if range.start != length => Err(CoreError::WrongOffset { id, length }),
        _ => Ok(()),
    }
}
