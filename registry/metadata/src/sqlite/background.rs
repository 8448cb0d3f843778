//! The traits of what the server does by itself and what operators ask for.

use std::time::Duration;

use registry_types::Digest;
use time::OffsetDateTime;

use super::{SqliteMetadata, collection, explanation, metadata::Answer, removals};
use crate::{
    BlobRemoval, CollectPolicy, Collected, CollectionMetadata, CollectionStatus, DryRun, Explanation,
};

impl CollectionMetadata for SqliteMetadata {
    async fn collect(&self, policy: &CollectPolicy, now: OffsetDateTime, limit: usize) -> Answer<Collected> {
        let policy = *policy;
        self.write(0, move |connection, changes| {
            collection::collect(connection, &policy, now, limit, changes)
        })
        .await
    }

    async fn collect_dry_run(
        &self,
        policy: &CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
    ) -> Answer<DryRun> {
        let policy = *policy;
        self.write_shared(move |connection| collection::dry_run(connection, &policy, now, limit)).await
    }

    async fn explain(
        &self,
        digest: &Digest,
        policy: &CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
    ) -> Answer<Explanation> {
        let (digest, policy) = (*digest, *policy);
        self.read(move |connection| explanation::explain(connection, &digest, &policy, now, limit)).await
    }

    async fn collection_status(&self, now: OffsetDateTime) -> Answer<CollectionStatus> {
        self.read(move |connection| removals::status(connection, now)).await
    }

    async fn removals(&self, now: OffsetDateTime, hold: Duration, limit: usize) -> Answer<Vec<BlobRemoval>> {
        self.write(0, move |connection, _| removals::take(connection, now, hold, limit)).await
    }

    async fn removal_wanted(&self, removal: &BlobRemoval) -> Answer<bool> {
        let removal = removal.clone();
        self.read(move |connection| removals::wanted(connection, &removal)).await
    }

    async fn finish_removal(&self, removal: &BlobRemoval) -> Answer<()> {
        let id = removal.id;
        self.write(0, move |connection, _| removals::finish(connection, id)).await
    }
}
