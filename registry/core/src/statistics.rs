//! Numbers for operators.

use std::sync::atomic::{AtomicU64, Ordering};

use registry_blobs::BlobStore;
use registry_metadata::{Counts, Metadata};

use crate::{CollectionRound, EventStatistics, Registry};

/// How much goes on, and how much there is.
#[derive(Debug, Clone, Default)]
pub struct Statistics {
    /// Requests that are receiving a blob at the moment.
    pub uploads_in_progress: usize,
    pub faults: Faults,
    pub collection: CollectionStatistics,
    /// How much there is; `None` when the metadata store does not answer.
    pub counts: Option<Counts>,
    pub events: EventStatistics,
}

/// How often the stores failed in this process, other than by what a client asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub metadata: u64,
    pub blobs: u64,
}

/// What collection did in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CollectionStatistics {
    pub rounds: u64,
    pub links: u64,
    pub manifests: u64,
    /// Blobs whose bytes were removed, and how many bytes.
    pub blobs: u64,
    pub bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct CollectionCounts {
    rounds: AtomicU64,
    links: AtomicU64,
    manifests: AtomicU64,
    blobs: AtomicU64,
    bytes: AtomicU64,
}

impl CollectionCounts {
    pub(crate) fn add(&self, round: &CollectionRound) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.links.fetch_add(round.collected.removed.links, Ordering::Relaxed);
        self.manifests.fetch_add(round.collected.removed.manifests, Ordering::Relaxed);
        self.blobs.fetch_add(round.removed, Ordering::Relaxed);
        self.bytes.fetch_add(round.removed_bytes, Ordering::Relaxed);
    }

    fn now(&self) -> CollectionStatistics {
        CollectionStatistics {
            rounds: self.rounds.load(Ordering::Relaxed),
            links: self.links.load(Ordering::Relaxed),
            manifests: self.manifests.load(Ordering::Relaxed),
            blobs: self.blobs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Counted where a store's error becomes one of ours, which no use case gets around.
static METADATA_FAULTS: AtomicU64 = AtomicU64::new(0);
static BLOB_FAULTS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn metadata_failed() {
    METADATA_FAULTS.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn blobs_failed() {
    BLOB_FAULTS.fetch_add(1, Ordering::Relaxed);
}

impl Faults {
    fn now() -> Self {
        Self { metadata: METADATA_FAULTS.load(Ordering::Relaxed), blobs: BLOB_FAULTS.load(Ordering::Relaxed) }
    }
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// As of now; nothing in it takes time with what is stored.
    pub async fn statistics(&self) -> Statistics {
        Statistics {
            uploads_in_progress: self.running.len(),
            faults: Faults::now(),
            collection: self.collections.now(),
            counts: self.metadata.counts().await.ok(),
            events: self.event_statistics(),
        }
    }
}
