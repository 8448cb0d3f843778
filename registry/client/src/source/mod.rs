//! Where an image comes from: a registry, an OCI layout in a folder, or an archive (OCI, or as `docker save` writes
//! it). All three give the same: manifests byte for byte and blobs as verified streams.

mod archive;
mod copy;
mod docker;
mod layout;
mod local;
mod referrers;
mod store;

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use registry_types::{Descriptor, DigestHasher, ImageReference, Platform, Reference};
use tokio::io::AsyncRead;

use crate::{
    BlobContent, BlobStream, Client, Error, ImageManifest, Manifest, Repository,
    manifest::{Chooser, Step},
};

pub(crate) use layout::{CONTAINERD_NAME, REFERENCE_NAME};
pub use local::{LocalImages, LocalSource};
pub(crate) use store::blob_path;

/// An image, or an index of images, in a registry.
#[derive(Debug, Clone)]
pub struct RegistrySource {
    pub repository: Repository,
    pub reference: Reference,
}

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Registry(RegistrySource),
    Local(LocalSource),
}

impl Source {
    /// The image that `image` names in its registry. Nothing is asked yet.
    pub fn registry(client: &Client, image: &ImageReference) -> Self {
        Self::Registry(RegistrySource { repository: client.repository(image), reference: image.reference() })
    }

    /// An image in the OCI layout at `folder` (image specification, "OCI Image Layout"). `name` chooses among several
    /// by their reference name.
    pub async fn layout(folder: &Path, name: Option<&str>) -> Result<Self, Error> {
        LocalImages::layout(folder).await?.image(name).await
    }

    /// An image in the archive at `path`: a tar of an OCI layout or of `docker save`, also compressed with gzip.
    pub async fn archive(path: &Path, name: Option<&str>) -> Result<Self, Error> {
        LocalImages::archive(path).await?.image(name).await
    }

    /// An image in an archive that comes as a stream, such as standard input. An archive tells only at its end what
    /// is in it, so it is kept in an unnamed temporary file.
    pub async fn stream(reader: impl AsyncRead + Unpin, name: Option<&str>) -> Result<Self, Error> {
        LocalImages::stream(reader).await?.image(name).await
    }

    /// What to call the image in messages.
    pub fn label(&self) -> String {
        match self {
            Self::Registry(source) => match &source.reference {
                Reference::Tag(tag) => format!("{}:{tag}", source.repository),
                Reference::Digest(digest) => format!("{}@{digest}", source.repository),
            },
            Self::Local(source) => match &source.name {
                Some(name) => format!("{name} in {}", source.store.path().display()),
                None => format!("the image in {}", source.store.path().display()),
            },
        }
    }

    /// The name that the archive or layout gives the image.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Registry(_) => None,
            Self::Local(source) => source.name.as_deref(),
        }
    }

    /// The manifest or index that the source names.
    pub async fn top(&self) -> Result<Manifest, Error> {
        match self {
            Self::Registry(source) => source.repository.manifest(&source.reference, &[]).await,
            Self::Local(source) => Ok(source.top.clone()),
        }
    }

    /// A manifest below the top.
    pub async fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        match self {
            Self::Registry(source) => {
                let reference = Reference::Digest(descriptor.digest);
                source.repository.manifest(&reference, std::slice::from_ref(&descriptor.media_type)).await
            }
            Self::Local(source) => source.store.manifest(descriptor).await,
        }
    }

    /// The image for `platform`. An image that stands alone is taken whatever its platform is: its configuration
    /// tells.
    pub async fn resolve(&self, platform: &Platform) -> Result<ImageManifest, Error> {
        let label = self.label();
        let mut chooser = Chooser::new(platform, &label);
        let mut manifest = self.top().await?;
        loop {
            match chooser.step(manifest)? {
                Step::Found(image) => return Ok(*image),
                Step::Below(descriptor) => manifest = self.manifest(&descriptor).await?,
            }
        }
    }

    /// A blob's bytes, verified as they come.
    pub async fn open(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        match self {
            Self::Registry(source) => source.repository.blob_stream(descriptor).await,
            Self::Local(source) => source.store.open(descriptor).await,
        }
    }

    /// A blob's bytes behind those that `known` has seen, verified as a whole: a copy that was cut goes on.
    pub(crate) async fn open_behind(
        &self,
        descriptor: &Descriptor,
        known: DigestHasher,
    ) -> Result<BlobStream, Error> {
        match self {
            Self::Registry(source) => source.repository.blob_stream_behind(descriptor, known).await,
            Self::Local(source) => source.store.open_behind(descriptor, known).await,
        }
    }

    /// A small blob in memory, such as an image's configuration; longer ones than `limit` bytes are refused.
    pub async fn blob_bytes(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        if descriptor.size > limit {
            let what = format!("blob {} of {}", descriptor.digest, self.label());
            return Err(Error::TooLarge { what, limit });
        }
        let mut content = BytesMut::new();
        let mut pieces = self.open(descriptor).await?;
        while let Some(piece) = pieces.try_next().await? {
            content.extend_from_slice(&piece);
        }
        Ok(content.freeze())
    }

    /// A blob that can be read again, if the source is local. Not verified: whoever takes it compares digests.
    pub async fn content(&self, descriptor: &Descriptor) -> Result<Option<BlobContent>, Error> {
        match self {
            Self::Registry(_) => Ok(None),
            Self::Local(source) => source.content(descriptor).await.map(Some),
        }
    }
}
