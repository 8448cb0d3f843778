//! The traits of what the server does by itself and what operators ask for.

use std::{sync::Arc, time::Duration};

use registry_types::{Digest, PathPrefix, RepositoryName};
use time::OffsetDateTime;

use super::{
    PostgresMetadata,
    attempts::{LONG_WORK, ONE_MOMENT},
    collection,
    connection::Connection,
    events, explanation,
    metadata::Answer,
    policies, quotas, removals, secrets,
};
use crate::{
    BlobRemoval, CollectPolicy, Collected, CollectionMetadata, CollectionStatus, DryRun, EventBacklog,
    EventCursor, EventMetadata, EventRecord, Explanation, NewEvent, NewRetention, PolicyMetadata,
    QuotaRecord, RetentionRecord, SecretMetadata, TagRule, TagRuleRecord,
};

impl SecretMetadata for PostgresMetadata {
    async fn secret(&self, name: &str) -> Answer<Option<String>> {
        self.inner.attempts.repeat(|at| async move { secrets::find(&at, name).await }).await
    }

    async fn put_secret(&self, name: &str, before: Option<&str>, value: &str) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { secrets::put(&at, name, before, value).await }).await
    }
}

impl CollectionMetadata for PostgresMetadata {
    async fn collect(&self, policy: &CollectPolicy, now: OffsetDateTime, limit: usize) -> Answer<Collected> {
        collection::collect(&self.inner.attempts, policy, now, limit).await
    }

    async fn collect_dry_run(
        &self,
        policy: &CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
    ) -> Answer<DryRun> {
        let run = |at: Arc<Connection>| async move { collection::dry_run(&at, policy, now, limit).await };
        self.inner.attempts.undone("BEGIN", run).await
    }

    async fn explain(
        &self,
        digest: &Digest,
        policy: &CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
    ) -> Answer<Explanation> {
        let explain =
            |at: Arc<Connection>| async move { explanation::explain(&at, digest, policy, now, limit).await };
        self.inner.attempts.undone(ONE_MOMENT, explain).await
    }

    async fn collection_status(&self, now: OffsetDateTime) -> Answer<CollectionStatus> {
        let status = |at: Arc<Connection>| async move { removals::status(&at, now).await };
        self.inner.attempts.undone(ONE_MOMENT, status).await
    }

    async fn removals(&self, now: OffsetDateTime, hold: Duration, limit: usize) -> Answer<Vec<BlobRemoval>> {
        let take = |at: Arc<Connection>| async move { removals::take(&at, now, hold, limit).await };
        self.inner.attempts.write(take).await
    }

    async fn removal_wanted(&self, removal: &BlobRemoval) -> Answer<bool> {
        self.inner.attempts.repeat(|at| async move { removals::wanted(&at, removal).await }).await
    }

    async fn finish_removal(&self, removal: &BlobRemoval) -> Answer<()> {
        self.inner.attempts.repeat(|at| async move { removals::finish(&at, removal.id).await }).await
    }
}

impl PostgresMetadata {
    /// Brings what changes wrote into the outbox, if there is anything.
    pub(super) async fn publish(&self) -> Answer<()> {
        let attempts = &self.inner.attempts;
        if attempts.repeat(|at| async move { events::waiting(&at).await }).await? {
            attempts.write(|at| async move { events::publish(&at).await }).await?;
        }
        Ok(())
    }
}

impl EventMetadata for PostgresMetadata {
    async fn record_events(&self, events: Vec<NewEvent>, now: OffsetDateTime) -> Answer<()> {
        let events = &events;
        self.inner.attempts.write(|at| async move { events::record(&at, events, now).await }).await
    }

    async fn add_endpoint(&self, endpoint: &str, now: OffsetDateTime) -> Answer<()> {
        let add = |at: Arc<Connection>| async move {
            events::publish(&at).await?;
            events::add_endpoint(&at, endpoint, now).await
        };
        self.inner.attempts.write(add).await
    }

    async fn remove_endpoint(&self, endpoint: &str) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { events::remove_endpoint(&at, endpoint).await }).await
    }

    async fn claim_endpoint(
        &self,
        endpoint: &str,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Answer<Option<EventCursor>> {
        self.inner.attempts.write(|at| async move { events::claim(&at, endpoint, now, until).await }).await
    }

    async fn events_after(&self, event_id: i64, limit: usize) -> Answer<Vec<EventRecord>> {
        self.publish().await?;
        self.inner.attempts.repeat(|at| async move { events::after(&at, event_id, limit).await }).await
    }

    async fn advance_endpoint(
        &self,
        claim: &EventCursor,
        event_id: i64,
        until: OffsetDateTime,
    ) -> Answer<bool> {
        let advance = |at: Arc<_>| async move { events::advance(&at, claim, event_id, until).await };
        self.inner.attempts.write(advance).await
    }

    async fn fail_endpoint(&self, claim: &EventCursor, next_attempt_at: OffsetDateTime) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { events::fail(&at, claim, next_attempt_at).await }).await
    }

    async fn replay_events(&self, endpoint: &str, event_id: i64, now: OffsetDateTime) -> Answer<bool> {
        let replay = |at: Arc<_>| async move { events::replay(&at, endpoint, event_id, now).await };
        self.inner.attempts.write(replay).await
    }

    async fn trim_events(&self, before: OffsetDateTime, limit: usize) -> Answer<usize> {
        self.publish().await?;
        self.inner.attempts.write(|at| async move { events::trim(&at, before, limit).await }).await
    }

    async fn event_backlog(&self) -> Answer<Vec<EventBacklog>> {
        self.publish().await?;
        self.inner.attempts.repeat(|at| async move { events::backlog(&at).await }).await
    }
}

impl PolicyMetadata for PostgresMetadata {
    async fn tag_rules(&self) -> Answer<Arc<Vec<TagRuleRecord>>> {
        let rules = &self.inner.tag_rules;
        self.inner.attempts.repeat(|at| async move { rules.get(&at, policies::read_tag_rule).await }).await
    }

    async fn add_tag_rule(&self, rule: &TagRule) -> Answer<TagRuleRecord> {
        self.inner.attempts.write(|at| async move { policies::add_tag_rule(&at, rule).await }).await
    }

    async fn delete_tag_rule(&self, id: i64) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { policies::delete_tag_rule(&at, id).await }).await
    }

    async fn retentions(&self) -> Answer<Vec<RetentionRecord>> {
        self.inner.attempts.repeat(|at| async move { policies::retentions(&at).await }).await
    }

    async fn add_retention(&self, policy: &NewRetention) -> Answer<RetentionRecord> {
        self.inner.attempts.write(|at| async move { policies::add_retention(&at, policy).await }).await
    }

    async fn delete_retention(&self, id: i64) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { policies::delete_retention(&at, id).await }).await
    }

    async fn start_retention(
        &self,
        id: i64,
        last: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> Answer<bool> {
        let start = |at: Arc<_>| async move { policies::start_retention(&at, id, last, now).await };
        self.inner.attempts.write(start).await
    }

    async fn quotas(&self) -> Answer<Vec<QuotaRecord>> {
        self.inner.attempts.repeat(|at| async move { quotas::list(&at).await }).await
    }

    async fn set_quota(&self, prefix: &PathPrefix, limit_bytes: u64) -> Answer<QuotaRecord> {
        let set = |at: Arc<_>| async move { quotas::set(&at, prefix, limit_bytes).await };
        self.inner.attempts.write_within(LONG_WORK, set).await
    }

    async fn delete_quota(&self, id: i64) -> Answer<bool> {
        let delete = |at: Arc<_>| async move { quotas::delete(&at, id).await };
        self.inner.attempts.write_within(LONG_WORK, delete).await
    }

    async fn quota_room(&self, repository: &RepositoryName) -> Answer<Option<u64>> {
        self.inner.attempts.repeat(|at| async move { quotas::room(&at, repository).await }).await
    }

    async fn record_pulls(&self, pulls: &[(RepositoryName, Digest, OffsetDateTime)]) -> Answer<()> {
        self.inner.attempts.repeat(|at| async move { policies::record_pulls(&at, pulls).await }).await
    }
}
