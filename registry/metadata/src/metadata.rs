//! The trait. Everything is a query or one transaction; nothing walks a tree.
//!
//! Guarantees that the suite checks for every engine:
//! - A reference never appears before what it refers to: [`Metadata::put_manifest`] fails whole when a blob is
//!   not linked to the repository.
//! - Reads see every write that was acknowledged before they began.
//! - Two writers of the same tag leave one of their manifests, never a mixture.

use std::{future::Future, sync::Arc};

use registry_types::{
    AccessRule, AccountName, Digest, HashState, MediaType, Reference, RepositoryName, Tag, UploadId,
};
use time::OffsetDateTime;

use crate::{
    AccountRecord, BlobRecord, ManifestRecord, MetadataError, NewManifest, Page, PageRequest, Referrer,
    ReferrersRequest, RuleRecord, TagRecord, UploadRecord,
};

type Answer<T> = Result<T, MetadataError>;

pub trait Metadata: Clone + Send + Sync + 'static {
    // Blobs, as repositories see them.

    /// The blob, if `repository` links it.
    fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> impl Future<Output = Answer<Option<BlobRecord>>> + Send;

    /// The blob, if any repository links it: its bytes need not be uploaded again.
    fn blob_anywhere(&self, digest: &Digest) -> impl Future<Output = Answer<Option<BlobRecord>>> + Send;

    /// Links a blob whose bytes are durable, creating the repository if new, and ends `upload` in the same
    /// transaction.
    fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobRecord,
        upload: Option<&UploadId>,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Links `digest` to `to` if `from` links it (or, without `from`, if any repository does). `None`: it does not.
    fn mount_blob(
        &self,
        from: Option<&RepositoryName>,
        to: &RepositoryName,
        digest: &Digest,
    ) -> impl Future<Output = Answer<Option<BlobRecord>>> + Send;

    /// Removes the link; false when there was none. Manifests that name the blob keep their own links to it.
    fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> impl Future<Output = Answer<bool>> + Send;

    // Manifests, tags, referrers.

    fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> impl Future<Output = Answer<Option<Arc<ManifestRecord>>>> + Send;

    /// Stores a manifest and moves its tags.
    ///
    /// # Errors
    /// [`MetadataError::MissingBlobs`] when a required blob is not linked to the repository.
    fn put_manifest(&self, manifest: NewManifest) -> impl Future<Output = Answer<()>> + Send;

    /// Removes the tag only; false when there was none.
    fn delete_tag(&self, repository: &RepositoryName, tag: &Tag)
    -> impl Future<Output = Answer<bool>> + Send;

    /// Removes the manifest and every tag on it from the repository; false when there was none.
    fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// A page of the repository's manifests whose subject is `subject`, in the order of their push, whether or
    /// not the subject itself was pushed.
    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
        page: &ReferrersRequest,
    ) -> impl Future<Output = Answer<Page<Referrer>>> + Send;

    /// Tags in byte order; `None` when the repository is unknown.
    fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> impl Future<Output = Answer<Option<Page<Tag>>>> + Send;

    /// Tags with digest, size and push time, in byte order; `None` when the repository is unknown.
    fn tag_records(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> impl Future<Output = Answer<Option<Page<TagRecord>>>> + Send;

    /// Repositories in byte order.
    fn repositories(&self, page: &PageRequest) -> impl Future<Output = Answer<Page<RepositoryName>>> + Send;

    // Upload sessions.

    fn create_upload(&self, upload: &UploadRecord) -> impl Future<Output = Answer<()>> + Send;

    /// The session, if it belongs to `repository`.
    fn upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> impl Future<Output = Answer<Option<UploadRecord>>> + Send;

    /// Records durable progress; false when the session has ended meanwhile.
    fn save_progress(&self, id: &UploadId, progress: &HashState)
    -> impl Future<Output = Answer<bool>> + Send;

    /// Ends a session; false when there was none.
    fn delete_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Sessions not touched since `before`, oldest first, at most `limit`.
    fn stale_uploads(
        &self,
        before: OffsetDateTime,
        limit: usize,
    ) -> impl Future<Output = Answer<Vec<UploadRecord>>> + Send;

    /// Whether a session with this id exists, in any repository: files without one are garbage.
    fn upload_exists(&self, id: &UploadId) -> impl Future<Output = Answer<bool>> + Send;

    // Accounts, rules, keys.

    fn account(&self, name: &AccountName) -> impl Future<Output = Answer<Option<AccountRecord>>> + Send;

    fn accounts(&self) -> impl Future<Output = Answer<Vec<AccountRecord>>> + Send;

    /// Stores an account; with `replace` an account of that name is replaced.
    ///
    /// # Errors
    /// [`MetadataError::AlreadyExists`] without `replace`.
    fn put_account(&self, account: &AccountRecord, replace: bool) -> impl Future<Output = Answer<()>> + Send;

    /// Removes the account and the rules for it; false when there was none.
    fn delete_account(&self, name: &AccountName) -> impl Future<Output = Answer<bool>> + Send;

    fn rules(&self) -> impl Future<Output = Answer<Arc<Vec<RuleRecord>>>> + Send;

    fn add_rule(&self, rule: &AccessRule) -> impl Future<Output = Answer<RuleRecord>> + Send;

    fn delete_rule(&self, id: i64) -> impl Future<Output = Answer<bool>> + Send;

    /// Answers when the store can take a write: for readiness checks.
    fn ping(&self) -> impl Future<Output = Answer<()>> + Send;
}
