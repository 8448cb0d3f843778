//! The images of a layout or an archive: their names, and each as a source of its own.

use std::{path::Path, sync::Arc};

use registry_types::Descriptor;
use tokio::io::AsyncRead;

use super::{Source, archive, docker, layout::Layout, store::Store};
use crate::{BlobContent, Error, Manifest};

/// All images of an OCI layout or an archive. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LocalImages {
    store: Store,
    layout: Arc<Layout>,
}

/// An image out of a folder or an archive. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LocalSource {
    pub(super) store: Store,
    pub(super) layout: Arc<Layout>,
    pub(super) top: Manifest,
    pub(super) name: Option<String>,
}

impl LocalImages {
    /// The images of the OCI layout at `folder` (image specification, "OCI Image Layout").
    pub async fn layout(folder: &Path) -> Result<Self, Error> {
        Self::read(Store::folder(folder)).await
    }

    /// The images of the archive at `path`: a tar of an OCI layout or of `docker save`, also compressed with gzip.
    pub async fn archive(path: &Path) -> Result<Self, Error> {
        Self::read(archive::open(path).await?).await
    }

    /// The images of an archive that comes as a stream, which is kept in an unnamed temporary file.
    pub async fn stream(reader: impl AsyncRead + Unpin) -> Result<Self, Error> {
        Self::read(archive::spool(reader).await?).await
    }

    async fn read(mut store: Store) -> Result<Self, Error> {
        let layout = match Layout::read(&store).await? {
            Some(layout) => layout,
            None => docker::read(&mut store).await?,
        };
        Ok(Self { store, layout: Arc::new(layout) })
    }

    /// Each image's own name, in the order of the index: the reference name where there is one, else the whole name.
    /// What has no name is left out.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> =
            self.layout.images.iter().filter_map(|entry| entry.names.last()).map(String::as_str).collect();
        names.dedup();
        names
    }

    /// The image called `name`, or the only one.
    pub async fn image(&self, name: Option<&str>) -> Result<Source, Error> {
        let (top, name) = self.layout.choose(&self.store, name).await?;
        let (store, layout) = (self.store.clone(), Arc::clone(&self.layout));
        Ok(Source::Local(LocalSource { store, layout, top, name }))
    }
}

impl LocalSource {
    /// A blob that can be read again. Not verified: whoever takes it compares digests.
    pub(crate) async fn content(&self, descriptor: &Descriptor) -> Result<BlobContent, Error> {
        self.store.content(descriptor).await
    }
}
