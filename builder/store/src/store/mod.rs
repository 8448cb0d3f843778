//! The store on disk: blobs, names of images, snapshots and records of steps under one directory.
//!
//! Any number of processes use it at once; each holds a shared lock. Pruning and the removal of leftovers need it
//! alone. Whatever is seen under its final name is whole.

mod content;
mod files;
mod holdings;
mod images;
mod layers;
mod prune;
#[cfg(test)]
mod prune_tests;
mod snapshots;
mod steps;
#[cfg(test)]
mod tests;
mod usage;

use std::path::{Path, PathBuf};

use registry_types::Digest;

pub use content::{ContentStore, Ingest, Tee};
pub use images::Images;
pub use layers::{LayerOptions, LayerToUnpack, write_layer};
pub use prune::{PruneLimits, PruneReport};
pub use snapshots::{MAX_CHAIN, Snapshot, SnapshotId, Snapshots, Upper};
pub use steps::{StepLayer, StepRecord, StepRecords};
pub use usage::{Usage, UsagePart};

use crate::error::{At as _, Result};
use files::FileLock;

/// File that marks an image layout (image layout specification, "oci-layout file").
const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The builder's local store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    lock: FileLock,
    pub content: ContentStore,
    pub images: Images,
    pub snapshots: Snapshots,
    pub steps: StepRecords,
}

impl Store {
    /// Opens the store in a directory, which is made if need be. If no other process uses it, what killed ones left is
    /// removed.
    pub fn open(root: &Path) -> Result<Self> {
        files::make_directory(root)?;
        let lock_path = root.join("lock");
        let store = Self {
            root: root.to_owned(),
            lock: FileLock::open(&lock_path)?,
            content: ContentStore::open(root)?,
            images: Images::open(root),
            snapshots: Snapshots::open(root)?,
            steps: StepRecords::open(root)?,
        };
        if store.lock.try_exclusive() {
            store.remove_leftovers()?;
            let marker = root.join(LAYOUT_FILE);
            if !marker.exists() {
                std::fs::write(&marker, LAYOUT).at("writing", &marker)?;
            }
        }
        store.lock.share().at("locking", &lock_path)?;
        Ok(store)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What the step with this cache key made, if it is still all there. A record that lost its snapshot or its layer
    /// is removed.
    pub fn step(&self, key: &Digest) -> Result<Option<StepRecord>> {
        let Some(record) = self.steps.get(key)? else { return Ok(None) };
        let layer_is_there = match &record.layer {
            None => true,
            Some(layer) => self.content.size(&layer.descriptor.digest)? == Some(layer.descriptor.size),
        };
        if !layer_is_there || self.snapshots.get(&record.snapshot)?.is_none() {
            self.steps.remove(key)?;
            return Ok(None);
        }
        files::touch(&self.steps.path(key));
        Ok(Some(record))
    }

    /// Puts the snapshots that are there now on the disk, so that they outlast a power cut. It writes out everything
    /// the file system holds, so call it once when a build is done, or never on a machine that is thrown away. If all
    /// are on the disk, it does nothing.
    pub fn sync(&self) -> Result<()> {
        let snapshots = self.snapshots.unsynced()?;
        if snapshots.is_empty() {
            return Ok(());
        }
        let root = std::fs::File::open(&self.root).at("opening", &self.root)?;
        rustix::fs::syncfs(&root).at("syncing", &self.root)?;
        self.snapshots.mark_synced(&snapshots)
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.content.remove_leftovers()?;
        self.snapshots.remove_leftovers()?;
        self.steps.remove_leftovers()?;
        for name in files::names_in(&self.root)? {
            if name.starts_with(files::TEMPORARY) {
                files::remove_file(&self.root.join(name))?;
            }
        }
        Ok(())
    }
}
