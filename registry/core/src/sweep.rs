//! Removing what unfinished uploads leave behind: sessions idle for too long, and session files that no row
//! names (their server died between creating the file and anything that could be resumed).

use std::time::Duration;

use registry_blobs::BlobStore;
use registry_metadata::Metadata;
use time::OffsetDateTime;

use crate::{CoreError, Registry};

/// How often a server sweeps.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Sessions removed per query, so that one sweep never holds the writer for long.
const BATCH: usize = 100;
/// Age from which a file without a row is garbage. A push in one request has a file and never a row; it is
/// being written to, so its age stays below the time a body may be idle.
const ORPHAN_AGE: Duration = Duration::from_secs(3600);

/// What one sweep removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sweeper {
    pub sessions: usize,
    pub files: usize,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Sweeps once.
    pub async fn sweep_uploads(&self) -> Result<Sweeper, CoreError> {
        let mut swept = Sweeper::default();
        let before = OffsetDateTime::now_utc() - self.limits.upload_idle;
        loop {
            let stale = self.metadata.stale_uploads(before, BATCH).await?;
            let removed_before = swept.sessions;
            for upload in &stale {
                let Some(lock) = self.sessions.take_if_free(upload.id) else { continue };
                // Somebody may have gone on with it since it was listed.
                let now = self.metadata.upload(&upload.repository, &upload.id).await?;
                if now.is_some_and(|now| now.touched_at < before) && self.end_session(&lock, upload).await? {
                    swept.sessions += 1;
                }
            }
            // A batch of which nothing could be removed would come back the same.
            if stale.len() < BATCH || swept.sessions == removed_before {
                break;
            }
        }
        for id in self.blobs.stale_sessions(ORPHAN_AGE).await? {
            if !self.metadata.upload_exists(&id).await? {
                self.blobs.abort(id, None).await?;
                swept.files += 1;
            }
        }
        Ok(swept)
    }

    /// Sweeps now and then, for ever. A failing sweep is logged and tried again next time.
    pub async fn keep_swept(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            match self.sweep_uploads().await {
                Ok(Sweeper { sessions: 0, files: 0 }) => {}
                Ok(swept) => tracing::info!(swept.sessions, swept.files, "removed unfinished uploads"),
                Err(error) => tracing::warn!(%error, "cannot sweep unfinished uploads"),
            }
        }
    }
}
