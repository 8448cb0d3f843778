//! Copying an image into a registry: blobs first, then manifests from the leaves up, so that nothing is ever named
//! before it is there.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_types::{Descriptor, Digest, ManifestKind, Reference, Tag};

use super::Source;
use crate::{Error, Manifest, Mount, Repository, manifest::DEEPEST_INDEX};

/// Blobs copied at once.
const BLOBS_AT_ONCE: usize = 4;

impl Source {
    /// Copies `manifest` with all it points to into `target` and names it by `tags`, or by digest only when there are
    /// none. Gives its digest.
    pub async fn copy_to(
        &self,
        manifest: &Manifest,
        target: &Repository,
        tags: &[Tag],
    ) -> Result<Digest, Error> {
        self.copy_below(manifest, target, DEEPEST_INDEX).await?;
        if tags.is_empty() {
            let reference = Reference::Digest(manifest.digest);
            return target.put_manifest(&reference, manifest.bytes.clone(), &manifest.media_type).await;
        }
        target.put_manifest_tags(manifest.bytes.clone(), &manifest.media_type, tags).await
    }

    async fn copy_below(&self, manifest: &Manifest, target: &Repository, depth: usize) -> Result<(), Error> {
        let view = manifest.view()?;
        if view.kind == ManifestKind::Opaque {
            return Err(Error::NotFound {
                what: "an image".to_owned(),
                place: format!("{}, which is of type {}", self.label(), manifest.media_type),
            });
        }
        let blobs: Vec<Descriptor> = view.required_blobs().into_iter().cloned().collect();
        stream::iter(blobs)
            .map(|blob| {
                let (source, target) = (self.clone(), target.clone());
                async move { source.copy_blob(&blob, &target).await }
            })
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        for child in &view.manifests {
            if depth == 0 {
                return Err(Error::NotFound {
                    what: "an image".to_owned(),
                    place: format!("{}: its indexes lie more than {DEEPEST_INDEX} deep", self.label()),
                });
            }
            let child = self.manifest(child).await?;
            Box::pin(self.copy_below(&child, target, depth - 1)).await?;
            let reference = Reference::Digest(child.digest);
            target.put_manifest(&reference, child.bytes.clone(), &child.media_type).await?;
        }
        Ok(())
    }

    /// Copies one blob, by mount if source and target share a registry.
    pub async fn copy_blob(&self, blob: &Descriptor, target: &Repository) -> Result<Mount, Error> {
        match self {
            Self::Local(source) => {
                let content = source.store.content(blob).await?;
                target.push_blob(&blob.digest, &content, None).await
            }
            Self::Registry(source) => {
                if target.blob_exists(&blob.digest).await? {
                    return Ok(Mount::Existed);
                }
                if source.repository.registry() == target.registry()
                    && target.mount(&blob.digest, source.repository.name()).await?
                {
                    return Ok(Mount::Mounted);
                }
                let pieces = source.repository.blob_stream(blob).await?;
                target.upload_stream(pieces, Some(&blob.digest)).await?;
                Ok(Mount::Uploaded)
            }
        }
    }
}
