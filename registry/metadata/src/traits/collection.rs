//! Collection: what nothing refers to goes, in small batches and without a walk. The writes themselves queue what
//! they may have made garbage, together with the time from which it can be; a batch takes what is due and looks
//! at each entry again, so an entry too many does no harm.

use std::{future::Future, time::Duration};

use registry_types::Digest;
use time::OffsetDateTime;

use super::Answer;
use crate::{BlobRemoval, CollectPolicy, Collected, CollectionStatus, DryRun, Explanation};

pub trait CollectionMetadata: Clone + Send + Sync + 'static {
    /// Decides at most `limit` entries that are due at `now`, in one transaction. Several may run at once on
    /// several machines; each takes other entries.
    fn collect(
        &self,
        policy: &CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
    ) -> impl Future<Output = Answer<Collected>> + Send;

    /// What [`Self::collect`] would do until nothing more is due, at most `limit` decisions of it, with reasons.
    /// Nothing is changed.
    fn collect_dry_run(
        &self,
        policy: &CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
    ) -> impl Future<Output = Answer<DryRun>> + Send;

    /// What holds the blob or manifest, in at most `limit` chains.
    fn explain(
        &self,
        digest: &Digest,
        policy: &CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
    ) -> impl Future<Output = Answer<Explanation>> + Send;

    /// For operators: counting what is due takes time with its number.
    fn collection_status(&self, now: OffsetDateTime)
    -> impl Future<Output = Answer<CollectionStatus>> + Send;

    /// Bytes to remove, oldest first, at most `limit`. What is given is given to nobody else until `now` plus
    /// `hold`, and again after that unless [`Self::finish_removal`] was called.
    fn removals(
        &self,
        now: OffsetDateTime,
        hold: Duration,
        limit: usize,
    ) -> impl Future<Output = Answer<Vec<BlobRemoval>>> + Send;

    /// Whether the bytes may go: no blob has that digest at that location now. To be asked while nothing can link
    /// the digest at that location.
    fn removal_wanted(&self, removal: &BlobRemoval) -> impl Future<Output = Answer<bool>> + Send;

    /// Takes the removal off the list: its bytes are gone, or wanted again.
    fn finish_removal(&self, removal: &BlobRemoval) -> impl Future<Output = Answer<()>> + Send;
}
