//! The traits of what the server does by itself and what operators ask for.

use std::{path::Path, sync::Arc, time::Duration};

use registry_types::{Digest, PathPrefix, RepositoryName};
use time::OffsetDateTime;

use super::{
    SqliteMetadata, backup, collection, counters, events, explanation, metadata::Answer, policies, quotas,
    removals, rows, secrets,
};
use crate::{
    BlobRemoval, CollectPolicy, Collected, CollectionMetadata, CollectionStatus, Counts, DryRun,
    EventBacklog, EventCursor, EventMetadata, EventRecord, Explanation, MetadataError, NewEvent,
    NewRetention, OperationMetadata, Page, PolicyMetadata, QuotaRecord, RetentionRecord, Row, RowValue,
    SecretMetadata, Table, TagRule, TagRuleRecord,
};

impl SecretMetadata for SqliteMetadata {
    async fn secret(&self, name: &str) -> Answer<Option<String>> {
        let name = name.to_owned();
        self.read(move |connection| secrets::find(connection, &name)).await
    }

    async fn put_secret(&self, name: &str, before: Option<&str>, value: &str) -> Answer<bool> {
        let (name, before, value) = (name.to_owned(), before.map(str::to_owned), value.to_owned());
        self.write_shared(move |connection| secrets::put(connection, &name, before.as_deref(), &value)).await
    }
}

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

impl EventMetadata for SqliteMetadata {
    async fn record_events(&self, events: Vec<NewEvent>, now: OffsetDateTime) -> Answer<()> {
        self.write(0, move |connection, _| events::record(connection, &events, now)).await
    }

    async fn add_endpoint(&self, endpoint: &str, now: OffsetDateTime) -> Answer<()> {
        let endpoint = endpoint.to_owned();
        self.write_shared(move |connection| events::add_endpoint(connection, &endpoint, now)).await
    }

    async fn remove_endpoint(&self, endpoint: &str) -> Answer<bool> {
        let endpoint = endpoint.to_owned();
        self.write_shared(move |connection| events::remove_endpoint(connection, &endpoint)).await
    }

    async fn claim_endpoint(
        &self,
        endpoint: &str,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> Answer<Option<EventCursor>> {
        let endpoint = endpoint.to_owned();
        self.write(0, move |connection, _| events::claim(connection, &endpoint, now, until)).await
    }

    async fn events_after(&self, event_id: i64, limit: usize) -> Answer<Vec<EventRecord>> {
        self.read(move |connection| events::after(connection, event_id, limit)).await
    }

    async fn advance_endpoint(
        &self,
        claim: &EventCursor,
        event_id: i64,
        until: OffsetDateTime,
    ) -> Answer<bool> {
        let claim = claim.clone();
        self.write(0, move |connection, _| events::advance(connection, &claim, event_id, until)).await
    }

    async fn fail_endpoint(&self, claim: &EventCursor, next_attempt_at: OffsetDateTime) -> Answer<bool> {
        let claim = claim.clone();
        self.write(0, move |connection, _| events::fail(connection, &claim, next_attempt_at)).await
    }

    async fn replay_events(&self, endpoint: &str, event_id: i64, now: OffsetDateTime) -> Answer<bool> {
        let endpoint = endpoint.to_owned();
        self.write_shared(move |connection| events::replay(connection, &endpoint, event_id, now)).await
    }

    async fn trim_events(&self, before: OffsetDateTime, limit: usize) -> Answer<usize> {
        self.write(0, move |connection, _| events::trim(connection, before, limit)).await
    }

    async fn event_backlog(&self) -> Answer<Vec<EventBacklog>> {
        self.read(events::backlog).await
    }
}

impl OperationMetadata for SqliteMetadata {
    async fn counts(&self) -> Answer<Counts> {
        self.read(counters::counts).await
    }

    async fn backup_to(&self, path: &Path) -> Answer<u64> {
        let (from, to) = (self.inner.path.clone(), path.to_owned());
        // On a thread of its own: it takes as long as the database is large, and no reader is to wait for it.
        let task = tokio::task::spawn_blocking(move || backup::backup_blocking(&from, &to));
        task.await.map_err(|error| MetadataError::Unavailable { reason: error.to_string() })?
    }

    async fn export_rows(
        &self,
        table: &Table,
        after: Option<&[RowValue]>,
        limit: usize,
    ) -> Answer<Page<Row>> {
        let (table, after) = (*table, after.map(<[_]>::to_vec));
        self.read(move |connection| rows::export(connection, &table, after.as_deref(), limit)).await
    }

    async fn import_rows(&self, table: &Table, rows: Vec<Row>) -> Answer<()> {
        let table = *table;
        self.write(rows::bytes(&rows), move |connection, _| rows::import(connection, &table, &rows)).await
    }

    async fn finish_import(&self) -> Answer<()> {
        self.write(0, |connection, _| rows::finish(connection)).await
    }
}
