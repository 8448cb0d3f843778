//! The traits of what the server does by itself and what operators ask for.

use std::{sync::Arc, time::Duration};

use registry_types::{Digest, PathPrefix, RepositoryName};
use time::OffsetDateTime;

use super::{SqliteMetadata, collection, explanation, metadata::Answer, policies, quotas, removals};
use crate::{
    BlobRemoval, CollectPolicy, Collected, CollectionMetadata, CollectionStatus, DryRun, Explanation,
    NewRetention, PolicyMetadata, QuotaRecord, RetentionRecord, TagRule, TagRuleRecord,
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

impl PolicyMetadata for SqliteMetadata {
    async fn tag_rules(&self) -> Answer<Arc<Vec<TagRuleRecord>>> {
        let cache = self.inner.tag_rules.clone();
        self.read(move |connection| policies::tag_rules(connection, &cache)).await
    }

    async fn add_tag_rule(&self, rule: &TagRule) -> Answer<TagRuleRecord> {
        let rule = rule.clone();
        self.write_shared(move |connection| policies::add_tag_rule(connection, &rule)).await
    }

    async fn delete_tag_rule(&self, id: i64) -> Answer<bool> {
        self.write_shared(move |connection| policies::delete_tag_rule(connection, id)).await
    }

    async fn retentions(&self) -> Answer<Vec<RetentionRecord>> {
        self.read(policies::retentions).await
    }

    async fn add_retention(&self, policy: &NewRetention) -> Answer<RetentionRecord> {
        let policy = policy.clone();
        self.write_shared(move |connection| policies::add_retention(connection, &policy)).await
    }

    async fn delete_retention(&self, id: i64) -> Answer<bool> {
        self.write_shared(move |connection| policies::delete_retention(connection, id)).await
    }

    async fn start_retention(
        &self,
        id: i64,
        last: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Answer<bool> {
        self.write(0, move |connection, _| policies::start_retention(connection, id, last, now)).await
    }

    async fn quotas(&self) -> Answer<Vec<QuotaRecord>> {
        self.read(quotas::list).await
    }

    async fn set_quota(&self, prefix: &PathPrefix, limit_bytes: u64) -> Answer<QuotaRecord> {
        let prefix = prefix.clone();
        self.write_shared(move |connection| quotas::set(connection, &prefix, limit_bytes)).await
    }

    async fn delete_quota(&self, id: i64) -> Answer<bool> {
        self.write_shared(move |connection| quotas::delete(connection, id)).await
    }

    async fn quota_room(&self, repository: &RepositoryName) -> Answer<Option<u64>> {
        let repository = repository.clone();
        self.read(move |connection| quotas::room(connection, &repository)).await
    }

    async fn record_pulls(&self, pulls: &[(RepositoryName, Digest, OffsetDateTime)]) -> Answer<()> {
        let pulls = pulls.to_vec();
        self.write(0, move |connection, _| policies::record_pulls(connection, &pulls)).await
    }
}
