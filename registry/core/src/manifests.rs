//! Pushing manifests, and removing what was pushed.

use bytes::Bytes;
use registry_auth::{Delete, Grant, Push};
use registry_blobs::BlobStore;
use registry_metadata::{Metadata, NewManifest};
use registry_types::{Algorithm, Digest, ManifestView, MediaType, Reference, Tag};

use crate::{CoreError, Registry, events::Happening};

/// A manifest as it arrived.
#[derive(Debug, Clone)]
pub struct ManifestPush {
    pub reference: Reference,
    /// The `Content-Type` of the request.
    pub media_type: Option<MediaType>,
    pub bytes: Bytes,
    /// Tags given as parameters of a push by digest.
    pub tags: Vec<Tag>,
}

/// What a push made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedManifest {
    pub digest: Digest,
    pub subject: Option<Digest>,
    /// The tags that now point at it.
    pub tags: Vec<Tag>,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Stores a manifest, byte for byte, and moves its tags.
    ///
    /// # Errors
    /// [`CoreError::DigestMismatch`] when pushed under a digest that is not its own, [`CoreError::MissingBlobs`]
    /// when parts are not in the repository, [`CoreError::ManifestInvalid`] when it is not what its type says,
    /// [`CoreError::TagProtected`] and [`CoreError::TagImmutable`] when a rule holds one of the tags.
    pub async fn push_manifest(
        &self,
        grant: &Grant<Push>,
        push: ManifestPush,
    ) -> Result<PushedManifest, CoreError> {
        self.refuse_mirrored(grant.repository())?;
        if push.bytes.len() > self.limits.manifest_bytes {
            return Err(CoreError::ManifestTooLarge { limit: self.limits.manifest_bytes });
        }
        let (digest, mut tags) = match push.reference {
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), &push.bytes);
                if actual != expected {
                    return Err(CoreError::DigestMismatch { expected, actual });
                }
                (actual, push.tags)
            }
            Reference::Tag(tag) => (Digest::of(Algorithm::Sha256, &push.bytes), vec![tag]),
        };
        tags.sort();
        tags.dedup();
        let view = ManifestView::parse(&push.bytes, push.media_type.as_ref())?;
        let immutable_tags = self.admit_tags(grant, &tags).await?;
        let subject = view.subject.as_ref().map(|subject| subject.digest);
        let content = (&digest, &view.media_type, push.bytes.len() as u64);
        let change = self.telling(Happening::pushed_manifest(grant.repository(), content, &tags));
        let stored = self
            .metadata
            .put_manifest(
                NewManifest {
                    repository: grant.repository().clone(),
                    digest,
                    bytes: push.bytes,
                    view,
                    tags: tags.clone(),
                    immutable_tags,
                    allow_missing_blobs: self.limits.sparse_manifests,
                },
                change,
            )
            .await;
        self.name_rule(grant, stored).await?;
        self.told();
        Ok(PushedManifest { digest, subject, tags })
    }

    /// Removes a tag, which leaves its manifest, or a manifest, which takes its tags along.
    ///
    /// # Errors
    /// [`CoreError::TagProtected`] and [`CoreError::TagImmutable`] when a rule holds one of those tags.
    pub async fn delete_manifest(
        &self,
        grant: &Grant<Delete>,
        reference: &Reference,
    ) -> Result<(), CoreError> {
        let repository = grant.repository();
        self.admit_deletion(grant, reference).await?;
        let removed = match reference {
            Reference::Tag(tag) => {
                let change = self.telling(Happening::deleted(repository, None, Some(tag)));
                self.metadata.delete_tag(repository, tag, change).await?
            }
            Reference::Digest(digest) => {
                let change = self.telling(Happening::deleted(repository, Some(digest), None));
                self.metadata.delete_manifest(repository, digest, change).await?
            }
        };
        self.told();
        if removed {
            Ok(())
        } else {
            Err(CoreError::ManifestUnknown { repository: repository.clone(), reference: reference.clone() })
        }
    }

    /// Removes a blob from the repository; its bytes stay for other repositories.
    pub async fn delete_blob(&self, grant: &Grant<Delete>, digest: &Digest) -> Result<(), CoreError> {
        let repository = grant.repository();
        let change = self.telling(Happening::deleted(repository, Some(digest), None));
        if self.metadata.unlink_blob(repository, digest, change).await? {
            self.told();
            Ok(())
        } else {
            Err(CoreError::BlobUnknown { repository: repository.clone(), digest: *digest })
        }
    }
}
