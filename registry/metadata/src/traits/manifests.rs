//! Manifests, tags and referrers.

use std::{future::Future, sync::Arc};

use registry_types::{Digest, MediaType, Reference, RepositoryName, Tag};
use time::OffsetDateTime;

use super::Answer;
use crate::{Change, ManifestRecord, NewManifest, Page, Referrer, ReferrersRequest, TagRecord};

pub trait ManifestMetadata: Clone + Send + Sync + 'static {
    fn manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> impl Future<Output = Answer<Option<Arc<ManifestRecord>>>> + Send;

    /// Stores a manifest and moves its tags.
    ///
    /// # Errors
    /// [`MissingBlobs`](crate::MetadataError::MissingBlobs) when a required blob is not linked to the repository,
    /// [`TagImmutable`](crate::MetadataError::TagImmutable) when an immutable tag names another digest now;
    /// nothing was changed.
    fn put_manifest(&self, manifest: NewManifest, change: Change) -> impl Future<Output = Answer<()>> + Send;

    /// Removes the tag only; false when there was none.
    fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        change: Change,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Removes a tag if it stands as it was listed: on the same manifest, and not pushed again since.
    fn delete_tag_unchanged(
        &self,
        repository: &RepositoryName,
        listed: &TagRecord,
        change: Change,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// The tags that name the manifest, in byte order; none when the repository does not have it.
    fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> impl Future<Output = Answer<Vec<Tag>>> + Send;

    /// Removes the manifest and every tag on it from the repository; false when there was none.
    fn delete_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        change: Change,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Keeps the manifest from collection until `until`, if its lease is not longer already. False: the
    /// repository does not have it any more, so do not answer that it does.
    fn renew_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        until: OffsetDateTime,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// A page of the repository's manifests whose subject is `subject`, in the order of their push, whether or
    /// not the subject itself was pushed. Artifact types that differ in case only are the same.
    fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
        page: &ReferrersRequest,
    ) -> impl Future<Output = Answer<Page<Referrer>>> + Send;
}
