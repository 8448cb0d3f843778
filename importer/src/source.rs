//! Where images come from, as the importer sees it: something that names an image's parts and opens each for
//! reading. Every node reads for itself, so a slow node holds up no other.

use std::{fmt, pin::Pin};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use registry_types::{Descriptor, ImageReference, Platform};
use tokio::io::AsyncRead;

use crate::SourceError;

/// A blob's content from its first byte to its last.
pub type BlobReader = Pin<Box<dyn AsyncRead + Send>>;

/// An image of one platform, its manifest kept byte for byte.
#[derive(Clone)]
pub struct ResolvedImage {
    /// Type, digest and length of the image manifest.
    pub manifest: Descriptor,
    pub manifest_bytes: Bytes,
    /// The index that the reference led through, if it named one: its digest is then importable as a name too.
    pub index: Option<(Descriptor, Bytes)>,
}

impl fmt::Debug for ResolvedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolvedImage")
            .field("manifest", &self.manifest.digest)
            .field("index", &self.index.as_ref().map(|(descriptor, _)| descriptor.digest))
            .finish_non_exhaustive()
    }
}

/// A registry, an OCI layout, an archive: whatever holds images.
pub trait ImageSource: Send + Sync {
    /// Finds `image` for `platform`. An image that is not an index is handed back whatever it is for: the
    /// importer reads its config and refuses a wrong one.
    ///
    /// # Errors
    /// When there is no such image, no part of its index for `platform`, or the source cannot be read.
    fn resolve<'a>(
        &'a self,
        image: &'a ImageReference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, SourceError>>;

    /// Opens a config or layer of `image`. The importer checks the length; the node checks the digest. It may
    /// wait for its turn, so the importer sets it no limit: one that the source reaches must be its own error.
    ///
    /// # Errors
    /// When the blob is absent or the source cannot be read.
    fn open<'a>(
        &'a self,
        image: &'a ImageReference,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<BlobReader, SourceError>>;
}
