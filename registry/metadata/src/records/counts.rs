//! How much there is.

/// Totals, which cost the same whatever they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub repositories: u64,
    /// Manifests, once per repository that has them.
    pub manifests: u64,
    pub tags: u64,
    /// Distinct blobs.
    pub blobs: u64,
    /// Bytes of the distinct blobs.
    pub blob_bytes: u64,
    pub uploads: u64,
    /// Entries of the collection queue.
    pub queued: u64,
    /// Blobs whose bytes wait to be removed.
    pub removals: u64,
    /// Events in the outbox.
    pub events: u64,
}
