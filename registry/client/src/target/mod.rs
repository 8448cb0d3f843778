//! Where an image goes: a registry, an OCI layout in a folder, or an archive. All three keep manifests byte for byte,
//! take blobs only with the right digest, and show a name only when all it stands for is there.

mod archive;
mod index;
mod layout;
mod name;
mod partial;

use std::path::Path;

use registry_types::{Descriptor, ManifestView, Reference, Tag};

use crate::{Error, Manifest, Mount, Repository, Source};

pub use archive::{ArchiveFormat, ArchiveTarget};
pub use layout::LayoutTarget;
pub use name::TargetName;

/// How much is gathered before it is written to a file, in bytes.
const WRITE_LENGTH: usize = 512 << 10;

/// Where an image goes. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Target {
    Registry(Repository),
    Layout(LayoutTarget),
    Archive(ArchiveTarget),
}

impl Target {
    /// The OCI layout at `folder`, which is made if it is not there. The images it has stay.
    pub async fn layout(folder: &Path) -> Result<Self, Error> {
        LayoutTarget::open(folder).await.map(Self::Layout)
    }

    /// A new archive at `path`, which takes the place of an earlier one when the target is finished; `-` is standard
    /// output.
    pub async fn archive(path: &Path, format: ArchiveFormat) -> Result<Self, Error> {
        ArchiveTarget::create(path, format).await.map(Self::Archive)
    }

    /// Makes sure that a layout or archive holds a blob. `tell` hears how many of its bytes are there.
    pub(crate) async fn put_blob(
        &self,
        source: &Source,
        blob: &Descriptor,
        tell: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Mount, Error> {
        match self {
            Self::Registry(repository) => source.copy_blob(blob, repository).await,
            Self::Layout(layout) => layout.put_blob(source, blob, tell).await,
            Self::Archive(archive) => archive.put_blob(source, blob, tell).await,
        }
    }

    /// Puts a manifest by its digest.
    pub(crate) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        match self {
            Self::Registry(repository) => {
                let reference = Reference::Digest(manifest.digest);
                repository.put_manifest(&reference, manifest.bytes.clone(), &manifest.media_type).await?;
                Ok(())
            }
            Self::Layout(layout) => layout.put_manifest(manifest).await,
            Self::Archive(archive) => archive.put_manifest(manifest).await,
        }
    }

    /// Makes a referrer that is there findable from its subject. A registry has done so when it took the manifest.
    pub(crate) async fn list_referrer(&self, manifest: &Manifest, view: &ManifestView) -> Result<(), Error> {
        let mut entry = manifest.descriptor();
        entry.artifact_type = view.effective_artifact_type().cloned();
        match self {
            Self::Registry(_) => Ok(()),
            Self::Layout(layout) => layout.add(entry, &[]).await,
            Self::Archive(archive) => archive.add(entry, &[]).await,
        }
    }

    /// Puts a manifest, of which all parts are there, under names. Without names it is there by its digest already.
    pub(crate) async fn name(
        &self,
        manifest: &Manifest,
        view: &ManifestView,
        names: &[TargetName],
    ) -> Result<(), Error> {
        match self {
            Self::Registry(repository) => {
                for name in names {
                    let tag: Tag = name.reference.parse()?;
                    let bytes = manifest.bytes.clone();
                    repository.put_manifest(&Reference::Tag(tag), bytes, &manifest.media_type).await?;
                }
                Ok(())
            }
            Self::Layout(layout) => {
                layout.put_manifest(manifest).await?;
                layout.add(manifest.descriptor(), names).await
            }
            Self::Archive(archive) => {
                archive.put_manifest(manifest).await?;
                archive.add(manifest.descriptor(), names).await?;
                archive.add_for_docker(view, names).await
            }
        }
    }

    pub(crate) async fn finish(&self) -> Result<(), Error> {
        match self {
            Self::Registry(_) | Self::Layout(_) => Ok(()),
            Self::Archive(archive) => archive.finish().await,
        }
    }

    /// What an image of this name is called here, for messages.
    pub fn label(&self, name: &TargetName) -> String {
        match self {
            Self::Registry(repository) => format!("{repository}:{}", name.reference),
            Self::Layout(layout) => format!("{}:{}", layout.path().display(), name.reference),
            Self::Archive(archive) => format!("{}:{}", archive.path().display(), name.reference),
        }
    }
}
