//! Making session data and rows agree: after a request that failed, and after a run of the server that ended
//! inside one. Whatever lies behind a row's progress was promised to nobody and is given back.

use std::{collections::HashSet, time::Duration};

use registry_blobs::{BlobError, BlobStore};
use registry_metadata::{Metadata, UploadRecord};
use registry_types::UploadId;
use time::OffsetDateTime;

use crate::{CoreError, Registry, sessions::SessionLock};

/// What a recovery changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Session data that no row named.
    pub removed: usize,
    /// Sessions whose data was made as long as the row says, if it was not already.
    pub cut: usize,
    /// Sessions whose data had less than the row promised: they are over.
    pub lost: usize,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Gives back the room that an earlier run of the server left taken: removes session data without a row, and
    /// cuts the rest back to what its row says. Uploads of this run are left alone, so it may run beside them;
    /// no other process may write to the stores. A store that others may write to has nothing to be cut: its
    /// uploads go on from their rows.
    pub async fn recover_uploads(&self) -> Result<Recovered, CoreError> {
        let mut recovered = Recovered::default();
        if self.blobs.records_sessions() {
            return Ok(recovered);
        }
        let mut left: HashSet<UploadId> =
            self.blobs.stale_sessions(Duration::ZERO).await?.into_iter().collect();
        // All rows at once, a few hundred bytes each, and once per start.
        for record in self.metadata.stale_uploads(OffsetDateTime::now_utc(), usize::MAX).await? {
            // A row that promises bytes and has no data is looked at too: a crash inside a cancel leaves one.
            if !left.remove(&record.id) && record.progress.length() == 0 {
                continue;
            }
            // A request of this run cuts the data back itself.
            let Some(lock) = self.sessions.take_if_free(record.id) else { continue };
            if self.cut_back(&lock, &record).await? {
                recovered.cut += 1;
            } else {
                recovered.lost += 1;
            }
        }
        for id in left {
            let Some(_lock) = self.sessions.take_if_free(id) else { continue };
            // A row that is younger than the list of rows.
            if !self.metadata.upload_exists(&id).await? {
                self.blobs.abort(id, None).await?;
                recovered.removed += 1;
            }
        }
        Ok(recovered)
    }

    /// After a request on the session failed by `error`: what it wrote and did not record is removed.
    pub(crate) async fn settle(&self, lock: &SessionLock, record: &UploadRecord, error: &CoreError) {
        let settled = match error {
            // The data is gone; the row must not promise it any longer.
            CoreError::UploadUnknown { .. } | CoreError::DigestMismatch { .. } => {
                self.end_if_last(lock, record).await
            }
            _ => self.cut_back(lock, record).await,
        };
        if let Err(error) = settled {
            tracing::warn!(id = %record.id, %error, "cannot cut an upload session back; the next start does");
        }
    }

    /// After a push in one request failed: nobody goes on with its bytes.
    pub(crate) async fn forget_push(&self, lock: &SessionLock, record: &UploadRecord) {
        let forgotten = if self.blobs.records_sessions() {
            self.end_if_last(lock, record).await.map(|_| ())
        } else {
            self.blobs.abort(record.id, None).await.map_err(CoreError::from)
        };
        if let Err(error) = forgotten {
            tracing::warn!(id = %record.id, %error, "cannot remove the data of a failed push yet");
        }
    }

    /// Ends a session unless another request has claimed it since `record`: then it is that one's.
    async fn end_if_last(&self, lock: &SessionLock, record: &UploadRecord) -> Result<bool, CoreError> {
        match self.metadata.upload(&record.repository, &record.id).await? {
            Some(now) if now.writer == record.writer => self.end_session(lock, record).await,
            now => self.abandon(record, now.as_ref()).await,
        }
    }

    /// Leaves a session to the replica that goes on with it, or alone if it has ended: true in the first case.
    async fn abandon(&self, record: &UploadRecord, now: Option<&UploadRecord>) -> Result<bool, CoreError> {
        self.blobs.abandon(record.id, now.map(|now| &now.progress)).await?;
        Ok(now.is_some())
    }

    /// Ends a session; false when it had ended already. It is claimed first, so that no other request links its
    /// blob while its data go: a session without a row may be one whose blob was linked, and is left alone.
    pub(crate) async fn end_session(
        &self,
        _lock: &SessionLock,
        record: &UploadRecord,
    ) -> Result<bool, CoreError> {
        let Some(claimed) = self.metadata.claim_upload(&record.repository, &record.id).await? else {
            return Ok(false);
        };
        self.blobs.abort(claimed.id, Some(&claimed.progress)).await?;
        Ok(self.metadata.delete_upload(&claimed.repository, &claimed.id).await?)
    }

    /// Makes a session's data as long as its row says now; false when the session is over.
    async fn cut_back(&self, lock: &SessionLock, record: &UploadRecord) -> Result<bool, CoreError> {
        let Some(now) = self.metadata.upload(&record.repository, &record.id).await? else {
            return self.abandon(record, None).await;
        };
        if now.writer != record.writer {
            return self.abandon(record, Some(&now)).await;
        }
        match self.blobs.resume(now.id, now.writer, &now.progress).await {
            Ok(_writer) => Ok(true),
            Err(BlobError::UploadLost { .. }) => {
                self.end_session(lock, &now).await?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
