//! What a copy tells while it runs, and at its end.

use std::sync::atomic::{AtomicU64, Ordering};

use registry_types::{Descriptor, Digest, MediaType};

use crate::{Manifest, Mount};

/// A step of a copy.
#[derive(Debug, Clone)]
pub enum CopyEvent {
    /// A blob is looked for at the target, and copied if it is not there.
    BlobStarted {
        descriptor: Descriptor,
    },
    /// So many bytes of a blob are at a layout or archive. Towards a registry the client's own
    /// [`Progress`](crate::Progress) tells.
    BlobPosition {
        digest: Digest,
        position: u64,
    },
    BlobDone {
        descriptor: Descriptor,
        how: Mount,
    },
    ManifestDone {
        descriptor: Descriptor,
    },
    /// An image is whole and has its names.
    ImageDone {
        digest: Digest,
    },
}

/// What a copy came to. Blobs that several images share count for the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyReport {
    pub digest: Digest,
    pub media_type: MediaType,
    /// Manifests and indexes put, referrers included.
    pub manifests: u64,
    pub referrers: u64,
    /// Blobs that were at the target.
    pub blobs_existed: u64,
    /// Blobs that the registry took from another of its repositories.
    pub blobs_mounted: u64,
    /// Blobs whose bytes travelled.
    pub blobs_copied: u64,
    /// Their length together, in bytes.
    pub bytes_copied: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counter {
    manifests: AtomicU64,
    referrers: AtomicU64,
    existed: AtomicU64,
    mounted: AtomicU64,
    copied: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    pub(super) fn manifest(&self) {
        self.manifests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn referrer(&self) {
        self.referrers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn blob(&self, blob: &Descriptor, how: Mount) {
        let count = match how {
            Mount::Existed => &self.existed,
            Mount::Mounted => &self.mounted,
            Mount::Uploaded => {
                self.bytes.fetch_add(blob.size, Ordering::Relaxed);
                &self.copied
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self, manifest: &Manifest) -> CopyReport {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CopyReport {
            digest: manifest.digest,
            media_type: manifest.media_type.clone(),
            manifests: read(&self.manifests),
            referrers: read(&self.referrers),
            blobs_existed: read(&self.existed),
            blobs_mounted: read(&self.mounted),
            blobs_copied: read(&self.copied),
            bytes_copied: read(&self.bytes),
        }
    }
}
