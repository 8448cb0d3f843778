//! The trait, each method one query on a reader's thread or one write in the writer's next transaction.

use std::sync::Arc;

use registry_types::{
    AccessRule, AccountName, Digest, HashState, MediaType, Reference, RepositoryName, Tag, UploadId,
};
use rusqlite::Connection;
use time::OffsetDateTime;

use super::{
    BlobKey, Changes, ManifestKey, SqliteMetadata, accounts, blobs, cache::Lookup, columns::TimeColumn,
    manifests, referrers, repositories, uploads, writer::Role,
};
use crate::{
    AccountRecord, BlobRecord, ManifestRecord, Metadata, MetadataError, NewManifest, Page, PageRequest,
    Referrer, ReferrersRequest, RuleRecord, TagRecord, UploadRecord,
};

type Answer<T> = Result<T, MetadataError>;

impl SqliteMetadata {
    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        self.inner.readers.read(query).await
    }

    /// A write of what only the serving process may change, with `bytes` of content.
    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection, &mut Changes) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        if self.inner.role == Role::Beside {
            return Err(MetadataError::Unavailable {
                reason: "it was opened beside a server, to change accounts and rules only: ask the server"
                    .to_owned(),
            });
        }
        self.inner.writer.write(bytes, work).await
    }

    /// A write of accounts or rules, which any process may make.
    async fn write_shared<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        self.inner.writer.write(0, move |connection, _| work(connection)).await
    }
}

impl Metadata for SqliteMetadata {
    async fn blob(&self, repository: &RepositoryName, digest: &Digest) -> Answer<Option<BlobRecord>> {
        let key = BlobKey { repository: repository.clone(), digest: *digest };
        let load = match self.inner.caches.blobs.look_up(key.clone()) {
            Lookup::Hit(record) => return Ok(Some(record)),
            Lookup::Miss(load) => load,
        };
        let found =
            self.read(move |connection| blobs::find(connection, &key.repository, &key.digest)).await?;
        if let Some(record) = &found {
            load.finish(record.clone());
        }
        Ok(found)
    }

    async fn blob_anywhere(&self, digest: &Digest) -> Answer<Option<BlobRecord>> {
        let digest = *digest;
        self.read(move |connection| blobs::find_anywhere(connection, &digest)).await
    }

    async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobRecord,
        upload: Option<&UploadId>,
    ) -> Answer<()> {
        let (repository, blob, upload) = (repository.clone(), blob.clone(), upload.copied());
        self.write(0, move |connection, changes| {
            blobs::link(connection, &repository, &blob, upload.as_ref(), changes)
        })
        .await
    }

    async fn mount_blob(
        &self,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        digest: &Digest,
    ) -> Answer<Option<BlobRecord>> {
        let (from, to, digest) = (from.cloned(), to.clone(), *digest);
        self.write(0, move |connection, changes| {
            blobs::mount(connection, from.as_ref(), &to, &digest, changes)
        })
        .await
    }

    async fn unlink_blob(&self, repository: &RepositoryName, digest: &Digest) -> Answer<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(0, move |connection, changes| blobs::unlink(connection, &repository, &digest, changes))
            .await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Answer<Option<Arc<ManifestRecord>>> {
        let key = ManifestKey { repository: repository.clone(), reference: reference.clone() };
        let load = match self.inner.caches.manifests.look_up(key.clone()) {
            Lookup::Hit(record) => return Ok(Some(record)),
            Lookup::Miss(load) => load,
        };
        let found = self.read(move |connection| manifests::find(connection, &key.repository, &key.reference));
        let found = found.await?.map(Arc::new);
        if let Some(record) = &found {
            load.finish(record.clone());
        }
        Ok(found)
    }

    async fn put_manifest(&self, manifest: NewManifest) -> Answer<()> {
        let bytes = manifest.bytes.len();
        self.write(bytes, move |connection, changes| manifests::put(connection, &manifest, changes)).await
    }

    async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag) -> Answer<bool> {
        let (repository, tag) = (repository.clone(), tag.clone());
        self.write(0, move |connection, changes| {
            manifests::delete_tag(connection, &repository, &tag, changes)
        })
        .await
    }

    async fn delete_manifest(&self, repository: &RepositoryName, digest: &Digest) -> Answer<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(0, move |connection, changes| manifests::delete(connection, &repository, &digest, changes))
            .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
        page: &ReferrersRequest,
    ) -> Answer<Page<Referrer>> {
        let (repository, subject, artifact_type) = (repository.clone(), *subject, artifact_type.cloned());
        let page = *page;
        self.read(move |connection| {
            referrers::list(connection, &repository, &subject, artifact_type.as_ref(), page)
        })
        .await
    }

    async fn tags(&self, repository: &RepositoryName, page: &PageRequest) -> Answer<Option<Page<Tag>>> {
        let (repository, page) = (repository.clone(), page.clone());
        self.read(move |connection| repositories::tags(connection, &repository, &page)).await
    }

    async fn tag_records(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Answer<Option<Page<TagRecord>>> {
        let (repository, page) = (repository.clone(), page.clone());
        self.read(move |connection| repositories::tag_records(connection, &repository, &page)).await
    }

    async fn repositories(&self, page: &PageRequest) -> Answer<Page<RepositoryName>> {
        let page = page.clone();
        self.read(move |connection| repositories::list(connection, &page)).await
    }

    async fn create_upload(&self, upload: &UploadRecord) -> Answer<()> {
        let upload = upload.clone();
        self.write(0, move |connection, _| uploads::create(connection, &upload)).await
    }

    async fn upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<Option<UploadRecord>> {
        let (repository, id) = (repository.clone(), *id);
        self.read(move |connection| uploads::find(connection, &repository, &id)).await
    }

    async fn save_progress(&self, id: &UploadId, progress: &HashState) -> Answer<bool> {
        let (id, progress) = (*id, progress.clone());
        self.write(0, move |connection, _| uploads::save_progress(connection, &id, &progress)).await
    }

    async fn delete_upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<bool> {
        let (repository, id) = (repository.clone(), *id);
        self.write(0, move |connection, _| uploads::delete(connection, &repository, &id)).await
    }

    async fn stale_uploads(&self, before: OffsetDateTime, limit: usize) -> Answer<Vec<UploadRecord>> {
        self.read(move |connection| uploads::stale(connection, before, limit)).await
    }

    async fn upload_exists(&self, id: &UploadId) -> Answer<bool> {
        let id = *id;
        self.read(move |connection| uploads::exists(connection, &id)).await
    }

    async fn account(&self, name: &AccountName) -> Answer<Option<AccountRecord>> {
        let name = name.clone();
        self.read(move |connection| accounts::find(connection, &name)).await
    }

    async fn accounts(&self) -> Answer<Vec<AccountRecord>> {
        self.read(accounts::list).await
    }

    async fn put_account(&self, account: &AccountRecord, replace: bool) -> Answer<()> {
        let account = account.clone();
        self.write_shared(move |connection| accounts::put(connection, &account, replace)).await
    }

    async fn delete_account(&self, name: &AccountName) -> Answer<bool> {
        let name = name.clone();
        self.write_shared(move |connection| accounts::delete(connection, &name)).await
    }

    async fn rules(&self) -> Answer<Arc<Vec<RuleRecord>>> {
        let cache = self.inner.rules.clone();
        self.read(move |connection| accounts::rules(connection, &cache)).await
    }

    async fn add_rule(&self, rule: &AccessRule) -> Answer<RuleRecord> {
        let rule = rule.clone();
        self.write_shared(move |connection| accounts::add_rule(connection, &rule)).await
    }

    async fn delete_rule(&self, id: i64) -> Answer<bool> {
        self.write_shared(move |connection| accounts::delete_rule(connection, id)).await
    }

    async fn ping(&self) -> Answer<()> {
        self.write_shared(|connection| {
            connection
                .prepare_cached("UPDATE readiness SET answered_at = ?1")?
                .execute([TimeColumn::now()])?;
            Ok(())
        })
        .await
    }
}
