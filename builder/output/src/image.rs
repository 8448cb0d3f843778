//! A built image as outputs take it: the exact bytes of manifest and config, and where each layer's bytes are.

use bytes::Bytes;
use registry_types::{Descriptor, Digest, ImageReference, Platform, RegistryHost, RepositoryName};

/// A repository that is known to hold a blob.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BlobOrigin {
    pub registry: RegistryHost,
    pub repository: RepositoryName,
}

impl BlobOrigin {
    /// The repository that a reference names.
    pub fn of(image: &ImageReference) -> Self {
        Self { registry: image.registry.clone(), repository: image.repository.clone() }
    }
}

impl std::fmt::Display for BlobOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)
    }
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The compressed archive.
    pub descriptor: Descriptor,
    /// sha256 of the uncompressed archive (image specification, "Layer DiffID").
    pub diff_id: Digest,
    /// Where a base image's layer was found; its bytes need not be in the local store then.
    pub origin: Option<BlobOrigin>,
}

/// An image whose config and manifest are in the local store, as are all layers without an origin.
#[derive(Debug, Clone)]
pub struct BuiltImage {
    /// The manifest byte for byte.
    pub manifest: Bytes,
    pub manifest_descriptor: Descriptor,
    /// The config byte for byte.
    pub config: Bytes,
    pub config_descriptor: Descriptor,
    /// Lowest first.
    pub layers: Vec<ImageLayer>,
    pub platform: Platform,
}

impl BuiltImage {
    /// The digest that names the image: that of its manifest.
    pub fn digest(&self) -> &Digest {
        &self.manifest_descriptor.digest
    }

    /// Bytes that a pull of the whole image transfers: manifest, config and compressed layers.
    pub fn size(&self) -> u64 {
        self.manifest_descriptor.size
            + self.config_descriptor.size
            + self.layers.iter().map(|layer| layer.descriptor.size).sum::<u64>()
    }
}
