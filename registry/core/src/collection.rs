//! Collection, always on. The writes themselves queue what they may have made garbage; here the queue is worked off
//! in small batches with pauses, so that a push never waits longer than for another push, and bytes that no row
//! names any more are removed.
//!
//! Why nothing that is needed goes. A row goes only in a transaction that sees no reference and no lease, and every
//! answer that a blob is here (an upload, a mount, a HEAD) has renewed the lease before. Bytes go only after their
//! row, under a lock that keeps commits of the same digest away, and only if no row has taken their place since. A
//! crash between the two leaves the removal on its list, and it is looked at again.

use std::time::Duration;

use registry_blobs::BlobStore;
use registry_metadata::{BlobRemoval, Collected, DryRun, Metadata};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{CoreError, Registry};

/// Entries decided in one transaction: about as long as a push of some manifests holds the writer.
const BATCH: usize = 100;
/// Blobs whose bytes are removed between two batches. A file's removal syncs a directory.
const REMOVALS: usize = 32;
/// The pause after a batch with more behind it, in times of what it took: collection takes a fifth of a writer.
const REST: u32 = 4;
/// The pause when nothing more is due. What becomes due meanwhile waited for a day's lease already.
const IDLE: Duration = Duration::from_secs(10);
/// The longest pause after failures, which double it from [`IDLE`] on.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
/// How long removals belong to who took them, before another replica takes them again: longer than the slowest
/// store needs for [`REMOVALS`] of them.
const REMOVAL_HOLD: Duration = Duration::from_secs(600);

/// What one round did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionRound {
    pub collected: Collected,
    /// Blobs whose bytes were removed, and how many bytes.
    pub removed: u64,
    pub removed_bytes: u64,
    /// More is due already.
    pub more: bool,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Decides a batch of what is due at `now`, and removes the bytes that no row names any more.
    pub async fn collect(&self, now: OffsetDateTime) -> Result<CollectionRound, CoreError> {
        let collected = self.metadata.collect(&self.limits.collection, now, BATCH).await?;
        self.tell_collected(&collected.manifests).await;
        let removals = self.metadata.removals(now, REMOVAL_HOLD, REMOVALS).await?;
        let more = collected.examined >= BATCH as u64 || removals.len() >= REMOVALS;
        let mut round = CollectionRound { collected, more, ..CollectionRound::default() };
        for removal in removals {
            if self.remove_bytes(&removal).await? {
                round.removed += 1;
                round.removed_bytes += removal.size;
            }
        }
        self.collections.add(&round);
        Ok(round)
    }

    /// False when the bytes were wanted again.
    async fn remove_bytes(&self, removal: &BlobRemoval) -> Result<bool, CoreError> {
        let _removing = self.digests.removing(&removal.digest).await;
        let wanted = self.metadata.removal_wanted(removal).await?;
        if wanted {
            self.blobs.remove(&removal.digest, &removal.location).await?;
        }
        self.metadata.finish_removal(removal).await?;
        Ok(wanted)
    }

    /// Collects for ever. A failing round is logged and tried again, later each time.
    pub async fn keep_collected(&self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let pause = match self.collect(OffsetDateTime::now_utc()).await {
                Ok(round) => {
                    failures = 0;
                    log(&round);
                    if round.more { began.elapsed() * REST } else { IDLE }
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot collect garbage; it is tried again");
                    failures = (failures + 1).min(16);
                    (IDLE * (1 << failures)).min(LONGEST_BACKOFF)
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// What would go at `now`, and why what was looked at stays; at most `limit` decisions.
    pub async fn collect_dry_run(&self, now: OffsetDateTime, limit: usize) -> Result<DryRun, CoreError> {
        Ok(self.metadata.collect_dry_run(&self.limits.collection, now, limit).await?)
    }
}

fn log(round: &CollectionRound) {
    let removed = round.collected.removed;
    if removed.links + removed.manifests + removed.blobs + round.removed > 0 {
        tracing::info!(
            removed.links,
            removed.manifests,
            removed.blobs,
            bytes = round.removed_bytes,
            "collected garbage"
        );
    }
}
