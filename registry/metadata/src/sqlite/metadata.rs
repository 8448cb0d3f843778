//! The traits of what clients ask for, each method one query on a reader's thread or one write in the writer's next transaction.

use std::sync::Arc;

use registry_types::{AccessRule, AccountName, Digest, MediaType, Reference, RepositoryName, Tag, UploadId};
use rusqlite::Connection;
use time::OffsetDateTime;

use super::{
    BlobKey, Changes, ManifestKey, SqliteMetadata, accounts, blobs, columns::TimeColumn, events, manifests,
    referrers, repositories, uploads, writer::Role,
};
use crate::{
    AccountMetadata, AccountRecord, BlobMetadata, BlobRecord, Change, HealthMetadata, ListingMetadata,
    ManifestMetadata, ManifestRecord, MetadataError, NewBlob, NewManifest, Page, PageRequest, Referrer,
    ReferrersRequest, RuleRecord, TagRecord, UploadMetadata, UploadProgress, UploadRecord, cache::Lookup,
};

pub(super) type Answer<T> = Result<T, MetadataError>;

impl SqliteMetadata {
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        self.inner.readers.read(query).await
    }

    /// A write of what only the serving process may change, with `bytes` of content.
    pub(super) async fn write<T: Send + 'static>(
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

    /// A removal, which is told only if there was something to remove.
    async fn remove(
        &self,
        change: Change,
        work: impl FnOnce(&Connection, OffsetDateTime, &mut Changes) -> Answer<bool> + Send + 'static,
    ) -> Answer<bool> {
        self.write(0, move |connection, changes| {
            let removed = work(connection, change.now, changes)?;
            if removed {
                events::record(connection, &change.events, change.now)?;
            }
            Ok(removed)
        })
        .await
    }

    /// A write of accounts or rules, which any process may make.
    pub(super) async fn write_shared<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Answer<T> + Send + 'static,
    ) -> Answer<T> {
        self.inner.writer.write(0, move |connection, _| work(connection)).await
    }
}

impl BlobMetadata for SqliteMetadata {
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
        blob: &NewBlob,
        upload: Option<(&UploadId, u64)>,
        change: Change,
    ) -> Answer<BlobRecord> {
        let (repository, blob) = (repository.clone(), blob.clone());
        let upload = upload.map(|(id, writer)| (*id, writer));
        self.write(0, move |connection, changes| {
            if let Some((id, writer)) = upload
                && !uploads::end(connection, &repository, &id, writer)?
                && !blobs::is_linked(connection, &repository, &blob)?
            {
                return Err(MetadataError::UploadLost { id });
            }
            let linked = blobs::link(connection, &repository, &blob, &change, changes)?;
            events::record(connection, &change.events, change.now)?;
            Ok(linked)
        })
        .await
    }

    async fn mount_blob(
        &self,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> Answer<Option<BlobRecord>> {
        let (from, to, digest) = (from.cloned(), to.clone(), *digest);
        self.write(0, move |connection, changes| {
            let mounted = blobs::mount(connection, from.as_ref(), &to, &digest, &change, changes)?;
            if mounted.is_some() {
                events::record(connection, &change.events, change.now)?;
            }
            Ok(mounted)
        })
        .await
    }

    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> Answer<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.remove(change, move |connection, now, changes| {
            blobs::unlink(connection, &repository, &digest, now, changes)
        })
        .await
    }

    async fn renew_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: OffsetDateTime,
    ) -> Answer<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(0, move |connection, changes| {
            blobs::renew(connection, &repository, &digest, until, changes)
        })
        .await
    }
}

impl ManifestMetadata for SqliteMetadata {
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

    async fn put_manifest(&self, manifest: NewManifest, change: Change) -> Answer<()> {
        self.write(manifest.bytes.len(), move |connection, changes| {
            manifests::put(connection, &manifest, &change, changes)?;
            events::record(connection, &change.events, change.now)
        })
        .await
    }

    async fn delete_tag(&self, repository: &RepositoryName, tag: &Tag, change: Change) -> Answer<bool> {
        let (repository, tag) = (repository.clone(), tag.clone());
        self.remove(change, move |connection, now, changes| {
            manifests::delete_tag(connection, &repository, &tag, now, changes)
        })
        .await
    }

    async fn delete_tag_unchanged(
        &self,
        repository: &RepositoryName,
        listed: &TagRecord,
        change: Change,
    ) -> Answer<bool> {
        let (repository, listed) = (repository.clone(), listed.clone());
        self.remove(change, move |connection, now, changes| {
            manifests::delete_tag_unchanged(connection, &repository, &listed, now, changes)
        })
        .await
    }

    async fn tags_of(&self, repository: &RepositoryName, digest: &Digest) -> Answer<Vec<Tag>> {
        let (repository, digest) = (repository.clone(), *digest);
        self.read(move |connection| manifests::tags_on(connection, &repository, &digest)).await
    }

    async fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> Answer<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.remove(change, move |connection, now, changes| {
            manifests::delete(connection, &repository, &digest, now, changes)
        })
        .await
    }

    async fn renew_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: OffsetDateTime,
    ) -> Answer<bool> {
        let (repository, digest) = (repository.clone(), *digest);
        self.write(0, move |connection, changes| {
            manifests::renew(connection, &repository, &digest, until, changes)
        })
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
}

impl ListingMetadata for SqliteMetadata {
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
}

impl UploadMetadata for SqliteMetadata {
    async fn create_upload(&self, upload: &UploadRecord) -> Answer<()> {
        let upload = upload.clone();
        self.write(0, move |connection, _| uploads::create(connection, &upload)).await
    }

    async fn upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<Option<UploadRecord>> {
        let (repository, id) = (repository.clone(), *id);
        self.read(move |connection| uploads::find(connection, &repository, &id)).await
    }

    async fn claim_upload(&self, repository: &RepositoryName, id: &UploadId) -> Answer<Option<UploadRecord>> {
        let (repository, id) = (repository.clone(), *id);
        self.write(0, move |connection, _| uploads::claim(connection, &repository, &id)).await
    }

    async fn save_progress(
        &self,
        id: &UploadId,
        writer: u64,
        progress: &UploadProgress,
        now: OffsetDateTime,
    ) -> Answer<bool> {
        let (id, progress) = (*id, progress.clone());
        self.write(0, move |connection, _| uploads::save_progress(connection, &id, writer, &progress, now))
            .await
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
}

impl AccountMetadata for SqliteMetadata {
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
}

impl HealthMetadata for SqliteMetadata {
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
