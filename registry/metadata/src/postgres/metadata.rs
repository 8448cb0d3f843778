//! The traits, each method one statement that may be repeated or one write that takes effect once.

use std::{sync::Arc, time::Duration};

use registry_types::{AccessRule, AccountName, Digest, MediaType, Reference, RepositoryName, Tag, UploadId};
use time::OffsetDateTime;

use super::{
    PostgresMetadata, accounts, blobs,
    columns::TimeColumn,
    connection::Connection,
    error::{Failure, unavailable},
    events, manifests, referrers, repositories, tags, uploads,
};
use crate::{
    AccountMetadata, AccountRecord, BlobMetadata, BlobRecord, Change, HealthMetadata, ListingMetadata,
    ManifestMetadata, ManifestRecord, MetadataError, NewBlob, NewManifest, Page, PageRequest, Referrer,
    ReferrersRequest, RuleRecord, TagRecord, UploadMetadata, UploadProgress, UploadRecord,
};

pub(super) type Answer<T> = Result<T, MetadataError>;

/// How long readiness goes on trying, and how long it takes in all when every connection is in use or none answers:
/// what asks for it has little patience, and an answer of "no" is what it needs.
const PING_PATIENCE: Duration = Duration::from_millis(500);
const PING_LIMIT: Duration = Duration::from_secs(2);

impl BlobMetadata for PostgresMetadata {
    async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Answer<Option<BlobRecord>> {
        self.inner.attempts.repeat(|at| async move { blobs::find(&at, repository, digest).await }).await
    }

    async fn blob_anywhere(&self, digest: &Digest) -> Answer<Option<BlobRecord>> {
        self.inner.attempts.repeat(|at| async move { blobs::find_anywhere(&at, digest).await }).await
    }

    async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &NewBlob,
        upload: Option<(&UploadId, u64)>,
        change: Change,
    ) -> Answer<BlobRecord> {
        let change = &change;
        let link = |at: Arc<Connection>| async move {
            let linked = blobs::link(&at, repository, blob, upload, change).await?;
            events::record(&at, &change.events, change.now).await?;
            Ok(linked)
        };
        self.inner.attempts.write(link).await
    }

    async fn mount_blob(
        &self,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> Answer<Option<BlobRecord>> {
        let change = &change;
        let mount = |at: Arc<Connection>| async move {
            let mounted = blobs::mount(&at, from, to, digest, change).await?;
            if mounted.is_some() {
                events::record(&at, &change.events, change.now).await?;
            }
            Ok(mounted)
        };
        self.inner.attempts.write(mount).await
    }

    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> Answer<bool> {
        let change = &change;
        let unlink = |at: Arc<Connection>| async move {
            let removed = blobs::unlink(&at, repository, digest, change.now).await?;
            tell_removal(&at, removed, change).await
        };
        self.inner.attempts.write(unlink).await
    }

    async fn renew_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: OffsetDateTime,
    ) -> Answer<bool> {
        let renew = |at: Arc<Connection>| async move { blobs::renew(&at, repository, digest, until).await };
        self.inner.attempts.repeat(renew).await
    }
}

/// A removal is told only if there was something to remove.
async fn tell_removal(connection: &Connection, removed: bool, change: &Change) -> Result<bool, Failure> {
    if removed {
        events::record(connection, &change.events, change.now).await?;
    }
    Ok(removed)
}

impl ManifestMetadata for PostgresMetadata {
    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Answer<Option<Arc<ManifestRecord>>> {
        let contents = &self.inner.contents;
        let find = |at: Arc<_>| async move { manifests::find(&at, contents, repository, reference).await };
        Ok(self.inner.attempts.repeat(find).await?.map(Arc::new))
    }

    async fn put_manifest(&self, manifest: NewManifest, change: Change) -> Answer<()> {
        let (manifest, change) = (&manifest, &change);
        let put = |at: Arc<Connection>| async move {
            manifests::put(&at, manifest, change).await?;
            events::record(&at, &change.events, change.now).await
        };
        self.inner.attempts.write(put).await
    }

    async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag, change: Change) -> Answer<bool> {
        let change = &change;
        let delete = |at: Arc<Connection>| async move {
            let removed = manifests::delete_tag(&at, repository, tag, change.now).await?;
            tell_removal(&at, removed, change).await
        };
        self.inner.attempts.write(delete).await
    }

    async fn delete_tag_unchanged(
        &self,
        repository: &RepositoryName,
        listed: &TagRecord,
        change: Change,
    ) -> Answer<bool> {
        let change = &change;
        let delete = |at: Arc<Connection>| async move {
            let removed = tags::delete_unchanged(&at, repository, listed, change.now).await?;
            tell_removal(&at, removed, change).await
        };
        self.inner.attempts.write(delete).await
    }

    async fn tags_of(&self, repository: &RepositoryName, digest: &Digest) -> Answer<Vec<Tag>> {
        self.inner.attempts.repeat(|at| async move { tags::of_manifest(&at, repository, digest).await }).await
    }

    async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> Answer<bool> {
        let change = &change;
        let delete = |at: Arc<Connection>| async move {
            let removed = manifests::delete(&at, repository, digest, change.now).await?;
            tell_removal(&at, removed, change).await
        };
        self.inner.attempts.write(delete).await
    }

    async fn renew_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: OffsetDateTime,
    ) -> Answer<bool> {
        let renew =
            |at: Arc<Connection>| async move { manifests::renew(&at, repository, digest, until).await };
        self.inner.attempts.repeat(renew).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
        page: &ReferrersRequest,
    ) -> Answer<Page<Referrer>> {
        let list =
            |at: Arc<_>| async move { referrers::list(&at, repository, subject, artifact_type, *page).await };
        self.inner.attempts.repeat(list).await
    }
}

impl ListingMetadata for PostgresMetadata {
    async fn tags(&self, repository: &RepositoryName, page: &PageRequest) -> Answer<Option<Page<Tag>>> {
        self.inner.attempts.repeat(|at| async move { repositories::tags(&at, repository, page).await }).await
    }

    async fn tag_records(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Answer<Option<Page<TagRecord>>> {
        self.inner
            .attempts
            .repeat(|at| async move { repositories::tag_records(&at, repository, page).await })
            .await
    }

    async fn repositories(&self, page: &PageRequest) -> Answer<Page<RepositoryName>> {
        self.inner.attempts.repeat(|at| async move { repositories::list(&at, page).await }).await
    }
}

impl UploadMetadata for PostgresMetadata {
    async fn create_upload(&self, upload: &UploadRecord) -> Answer<()> {
        self.inner.attempts.write(|at| async move { uploads::create(&at, upload).await }).await
    }

    async fn upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<Option<UploadRecord>> {
        self.inner.attempts.repeat(|at| async move { uploads::find(&at, repository, id).await }).await
    }

    async fn claim_upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<Option<UploadRecord>> {
        self.inner.attempts.write(|at| async move { uploads::claim(&at, repository, id).await }).await
    }

    async fn save_progress(
        &self,
        id: &UploadId,
        writer: u64,
        progress: &UploadProgress,
        now: OffsetDateTime,
    ) -> Answer<bool> {
        let save = |at: Arc<_>| async move { uploads::save_progress(&at, id, writer, progress, now).await };
        self.inner.attempts.repeat(save).await
    }

    async fn delete_upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { uploads::delete(&at, repository, id).await }).await
    }

    async fn stale_uploads(&self, before: OffsetDateTime, limit: usize) -> Answer<Vec<UploadRecord>> {
        self.inner.attempts.repeat(|at| async move { uploads::stale(&at, before, limit).await }).await
    }

    async fn upload_exists(&self, id: &UploadId) -> Answer<bool> {
        self.inner.attempts.repeat(|at| async move { uploads::exists(&at, id).await }).await
    }
}

impl AccountMetadata for PostgresMetadata {
    async fn account(&self, name: &AccountName) -> Answer<Option<AccountRecord>> {
        self.inner.attempts.repeat(|at| async move { accounts::find(&at, name).await }).await
    }

    async fn accounts(&self) -> Answer<Vec<AccountRecord>> {
        self.inner.attempts.repeat(|at| async move { accounts::list(&at).await }).await
    }

    async fn put_account(&self, account: &AccountRecord, replace: bool) -> Answer<()> {
        self.inner.attempts.write(|at| async move { accounts::put(&at, account, replace).await }).await
    }

    async fn delete_account(&self, name: &AccountName) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { accounts::delete(&at, name).await }).await
    }

    async fn rules(&self) -> Answer<Arc<Vec<RuleRecord>>> {
        let rules = &self.inner.rules;
        self.inner.attempts.repeat(|at| async move { rules.get(&at, accounts::read_rule).await }).await
    }

    async fn add_rule(&self, rule: &AccessRule) -> Answer<RuleRecord> {
        self.inner.attempts.write(|at| async move { accounts::add_rule(&at, rule).await }).await
    }

    async fn delete_rule(&self, id: i64) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { accounts::delete_rule(&at, id).await }).await
    }
}

impl HealthMetadata for PostgresMetadata {
    async fn ping(&self) -> Answer<()> {
        let touch = |at: Arc<Connection>| async move {
            at.execute("UPDATE readiness SET answered_at = $1", &[&TimeColumn::now()]).await.map(drop)
        };
        let ping = self.inner.attempts.repeat_for(PING_PATIENCE, touch);
        tokio::time::timeout(PING_LIMIT, ping).await.unwrap_or_else(|_| {
            Err(unavailable(format!("PostgreSQL gave no answer within {} s", PING_LIMIT.as_secs())))
        })
    }
}
