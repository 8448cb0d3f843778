//! The trait, each method one statement that may be repeated or one write that takes effect once.

use std::{sync::Arc, time::Duration};

use registry_types::{
    AccessRule, AccountName, Digest, HashState, MediaType, Reference, RepositoryName, Tag, UploadId,
};
use time::OffsetDateTime;

use super::{
    PostgresMetadata, accounts, blobs, columns::TimeColumn, connection::Connection, manifests, referrers,
    repositories, uploads,
};
use crate::{
    AccountRecord, BlobRecord, ManifestRecord, Metadata, MetadataError, NewManifest, Page, PageRequest,
    Referrer, ReferrersRequest, RuleRecord, TagRecord, UploadRecord,
};

type Answer<T> = Result<T, MetadataError>;

/// How long readiness goes on trying: what asks for it has little patience, and an answer of "no" is what it needs.
const PING_PATIENCE: Duration = Duration::from_millis(500);

impl Metadata for PostgresMetadata {
    async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Answer<Option<BlobRecord>> {
        self.inner.attempts.repeat(|at| async move { blobs::find(&at, repository, digest).await }).await
    }

    async fn blob_anywhere(&self, digest: &Digest) -> Answer<Option<BlobRecord>> {
        self.inner.attempts.repeat(|at| async move { blobs::find_anywhere(&at, digest).await }).await
    }

    async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobRecord,
        upload: Option<&UploadId>,
    ) -> Answer<()> {
        self.inner.attempts.write(|at| async move { blobs::link(&at, repository, blob, upload).await }).await
    }

    async fn mount_blob(
        &self,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        digest: &Digest,
    ) -> Answer<Option<BlobRecord>> {
        self.inner.attempts.write(|at| async move { blobs::mount(&at, from, to, digest).await }).await
    }

    async fn unlink_blob(&self, repository: &RepositoryName, digest: &Digest) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { blobs::unlink(&at, repository, digest).await }).await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Answer<Option<Arc<ManifestRecord>>> {
        let contents = &self.inner.contents;
        let find = |at: Arc<_>| async move { manifests::find(&at, contents, repository, reference).await };
        Ok(self.inner.attempts.repeat(find).await?.map(Arc::new))
    }

    async fn put_manifest(&self, manifest: NewManifest) -> Answer<()> {
        let manifest = &manifest;
        self.inner.attempts.write(|at| async move { manifests::put(&at, manifest).await }).await
    }

    async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { manifests::delete_tag(&at, repository, tag).await }).await
    }

    async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { manifests::delete(&at, repository, digest).await }).await
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

    async fn create_upload(&self, upload: &UploadRecord) -> Answer<()> {
        self.inner.attempts.write(|at| async move { uploads::create(&at, upload).await }).await
    }

    async fn upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<Option<UploadRecord>> {
        self.inner.attempts.repeat(|at| async move { uploads::find(&at, repository, id).await }).await
    }

    async fn save_progress(&self, id: &UploadId, progress: &HashState) -> Answer<bool> {
        self.inner.attempts.repeat(|at| async move { uploads::save_progress(&at, id, progress).await }).await
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
        let cache = &self.inner.rules;
        self.inner.attempts.repeat(|at| async move { accounts::rules(&at, cache).await }).await
    }

    async fn add_rule(&self, rule: &AccessRule) -> Answer<RuleRecord> {
        self.inner.attempts.write(|at| async move { accounts::add_rule(&at, rule).await }).await
    }

    async fn delete_rule(&self, id: i64) -> Answer<bool> {
        self.inner.attempts.write(|at| async move { accounts::delete_rule(&at, id).await }).await
    }

    async fn ping(&self) -> Answer<()> {
        let touch = |at: Arc<Connection>| async move {
            at.execute("UPDATE readiness SET answered_at = $1", &[&TimeColumn::now()]).await.map(drop)
        };
        self.inner.attempts.repeat_for(PING_PATIENCE, touch).await
    }
}
