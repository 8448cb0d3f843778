//! How much room the store takes, and how much of it pruning could free.

use std::time::SystemTime;

use registry_types::Digest;

use super::Store;
use super::holdings::{Holdings, Item};
use crate::error::Result;

/// Things of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UsagePart {
    pub count: u64,
    /// Bytes on disk.
    pub size: u64,
    /// Bytes on disk of what no named image needs.
    pub reclaimable: u64,
    /// When the one that was not used for longest was used last.
    pub oldest_use: Option<SystemTime>,
}

/// What the store holds. Step records are smaller than what is counted, so they have no size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Names of images, sorted, with the digests of their manifests.
    pub images: Vec<(String, Digest)>,
    pub steps: UsagePart,
    pub snapshots: UsagePart,
    pub blobs: UsagePart,
}

impl Usage {
    /// Bytes on disk.
    pub fn size(&self) -> u64 {
        self.steps.size + self.snapshots.size + self.blobs.size
    }

    /// Bytes that pruning without limits would free, all names kept.
    pub fn reclaimable(&self) -> u64 {
        self.steps.reclaimable + self.snapshots.reclaimable + self.blobs.reclaimable
    }
}

impl Store {
    /// What the store holds now. Other processes may go on using it.
    pub fn usage(&self) -> Result<Usage> {
        let holdings = self.holdings()?;
        let mut usage = Usage {
            images: self.images.list()?.into_iter().map(|(name, image)| (name, image.digest)).collect(),
            ..Usage::default()
        };
        for (item, size) in &holdings.sizes {
            let part = match item {
                Item::Step(_) => &mut usage.steps,
                Item::Snapshot(_) => &mut usage.snapshots,
                Item::Blob(_) => &mut usage.blobs,
            };
            part.add(item, *size, &holdings);
        }
        Ok(usage)
    }
}

impl UsagePart {
    fn add(&mut self, item: &Item, size: u64, holdings: &Holdings) {
        let is_named = matches!(item, Item::Blob(digest) if holdings.named.contains(digest));
        self.count += 1;
        self.size += size;
        self.reclaimable += if is_named { 0 } else { size };
        let used = holdings.used.get(item).copied();
        self.oldest_use = match (self.oldest_use, used) {
            (Some(oldest), Some(used)) => Some(oldest.min(used)),
            (oldest, used) => oldest.or(used),
        };
    }
}
