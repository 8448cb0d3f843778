//! The engine that a configuration names, as one type: what stands above the trait is compiled once.

use std::{path::Path, sync::Arc, time::Duration};

use registry_types::{
    AccessRule, AccountName, Digest, MediaType, PathPrefix, Reference, RepositoryName, Tag, UploadId,
};
use time::OffsetDateTime;

use crate::*;

/// One of the engines. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum AnyMetadata {
    Sqlite(SqliteMetadata),
    Postgres(PostgresMetadata),
}

impl AnyMetadata {
    /// Finishes every call that is under way and lets the store go. Later calls answer
    /// [`MetadataError::Unavailable`].
    pub async fn close(&self) {
        match self {
            Self::Sqlite(engine) => engine.close().await,
            Self::Postgres(engine) => engine.close().await,
        }
    }
}

/// Hands each method of a trait on to the engine.
macro_rules! delegate {
    ($trait:ident { $($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+ }) => {
        impl $trait for AnyMetadata {
            $(async fn $name(&self, $($argument: $type),*) -> Result<$answer, MetadataError> {
                match self {
                    Self::Sqlite(engine) => engine.$name($($argument),*).await,
                    Self::Postgres(engine) => engine.$name($($argument),*).await,
                }
            })+
        }
    };
}

delegate! { BlobMetadata {
    blob(repository: &RepositoryName, digest: &Digest) -> Option<BlobRecord>;
    blob_anywhere(digest: &Digest) -> Option<BlobRecord>;
    link_blob(repository: &RepositoryName, blob: &NewBlob, upload: Option<(&UploadId, u64)>, change: Change) -> BlobRecord;
    mount_blob(from: Option<&RepositoryName>, to: &RepositoryName, digest: &Digest, change: Change) -> Option<BlobRecord>;
    unlink_blob(repository: &RepositoryName, digest: &Digest, change: Change) -> bool;
    renew_blob(repository: &RepositoryName, digest: &Digest, until: OffsetDateTime) -> bool;
}}

delegate! { ManifestMetadata {
    manifest(repository: &RepositoryName, reference: &Reference) -> Option<Arc<ManifestRecord>>;
    put_manifest(manifest: NewManifest, change: Change) -> ();
    delete_tag(repository: &RepositoryName, tag: &Tag, change: Change) -> bool;
    delete_tag_unchanged(repository: &RepositoryName, listed: &TagRecord, change: Change) -> bool;
    tags_of(repository: &RepositoryName, digest: &Digest) -> Vec<Tag>;
    delete_manifest(repository: &RepositoryName, digest: &Digest, change: Change) -> bool;
    renew_manifest(repository: &RepositoryName, digest: &Digest, until: OffsetDateTime) -> bool;
    referrers(repository: &RepositoryName, subject: &Digest, artifact_type: Option<&MediaType>, page: &ReferrersRequest) -> Page<Referrer>;
}}

delegate! { ListingMetadata {
    tags(repository: &RepositoryName, page: &PageRequest) -> Option<Page<Tag>>;
    tag_records(repository: &RepositoryName, page: &PageRequest) -> Option<Page<TagRecord>>;
    repositories(page: &PageRequest) -> Page<RepositoryName>;
}}

delegate! { UploadMetadata {
    create_upload(upload: &UploadRecord) -> ();
    upload(repository: &RepositoryName, id: &UploadId) -> Option<UploadRecord>;
    claim_upload(repository: &RepositoryName, id: &UploadId) -> Option<UploadRecord>;
    save_progress(id: &UploadId, writer: u64, progress: &UploadProgress, now: OffsetDateTime) -> bool;
    delete_upload(repository: &RepositoryName, id: &UploadId) -> bool;
    stale_uploads(before: OffsetDateTime, limit: usize) -> Vec<UploadRecord>;
    upload_exists(id: &UploadId) -> bool;
}}

delegate! { AccountMetadata {
    account(name: &AccountName) -> Option<AccountRecord>;
    accounts() -> Vec<AccountRecord>;
    put_account(account: &AccountRecord, replace: bool) -> ();
    delete_account(name: &AccountName) -> bool;
    rules() -> Arc<Vec<RuleRecord>>;
    add_rule(rule: &AccessRule) -> RuleRecord;
    delete_rule(id: i64) -> bool;
}}

delegate! { SecretMetadata {
    secret(name: &str) -> Option<String>;
    put_secret(name: &str, before: Option<&str>, value: &str) -> bool;
}}

delegate! { HealthMetadata {
    ping() -> ();
}}

delegate! { CollectionMetadata {
    collect(policy: &CollectPolicy, now: OffsetDateTime, limit: usize) -> Collected;
    collect_dry_run(policy: &CollectPolicy, now: OffsetDateTime, limit: usize) -> DryRun;
    explain(digest: &Digest, policy: &CollectPolicy, now: OffsetDateTime, limit: usize) -> Explanation;
    collection_status(now: OffsetDateTime) -> CollectionStatus;
    removals(now: OffsetDateTime, hold: Duration, limit: usize) -> Vec<BlobRemoval>;
    removal_wanted(removal: &BlobRemoval) -> bool;
    finish_removal(removal: &BlobRemoval) -> ();
}}

delegate! { PolicyMetadata {
    tag_rules() -> Arc<Vec<TagRuleRecord>>;
    add_tag_rule(rule: &TagRule) -> TagRuleRecord;
    delete_tag_rule(id: i64) -> bool;
    retentions() -> Vec<RetentionRecord>;
    add_retention(policy: &NewRetention) -> RetentionRecord;
    delete_retention(id: i64) -> bool;
    start_retention(id: i64, last: Option<OffsetDateTime>, now: OffsetDateTime) -> bool;
    quotas() -> Vec<QuotaRecord>;
    set_quota(prefix: &PathPrefix, limit_bytes: u64) -> QuotaRecord;
    delete_quota(id: i64) -> bool;
    quota_room(repository: &RepositoryName) -> Option<u64>;
    record_pulls(pulls: &[(RepositoryName, Digest, OffsetDateTime)]) -> ();
}}

delegate! { EventMetadata {
    record_events(events: Vec<NewEvent>, now: OffsetDateTime) -> ();
    add_endpoint(endpoint: &str, now: OffsetDateTime) -> ();
    remove_endpoint(endpoint: &str) -> bool;
    claim_endpoint(endpoint: &str, now: OffsetDateTime, until: OffsetDateTime) -> Option<EventCursor>;
    events_after(event_id: i64, limit: usize) -> Vec<EventRecord>;
    advance_endpoint(claim: &EventCursor, event_id: i64, until: OffsetDateTime) -> bool;
    fail_endpoint(claim: &EventCursor, next_attempt_at: OffsetDateTime) -> bool;
    replay_events(endpoint: &str, event_id: i64, now: OffsetDateTime) -> bool;
    trim_events(before: OffsetDateTime, limit: usize) -> usize;
    event_backlog() -> Vec<EventBacklog>;
}}

delegate! { OperationMetadata {
    counts() -> Counts;
    backup_to(path: &Path) -> u64;
    export_rows(table: &Table, after: Option<&[RowValue]>, limit: usize) -> Page<Row>;
    import_rows(table: &Table, rows: Vec<Row>) -> ();
    finish_import() -> ();
}}
