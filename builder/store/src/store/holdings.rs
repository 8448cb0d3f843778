//! What the store holds: each step record, snapshot and blob with its size, its last use, and what needs it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use registry_types::{Descriptor, Digest, ManifestKind, ManifestView};

use super::{SnapshotId, StepRecord, Store};
use crate::error::{At as _, Result, StoreError};

/// Largest manifest that is read to find what it refers to: registries take no larger one.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// Something that can be removed by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    Step(Digest),
    Snapshot(SnapshotId),
    Blob(Digest),
}

/// All there is. An item without a size was gone before it was looked at.
pub(super) struct Holdings {
    pub(super) steps: HashMap<Digest, StepRecord>,
    pub(super) snapshots: HashMap<SnapshotId, Option<SnapshotId>>,
    pub(super) blobs: HashSet<Digest>,
    /// Records that cannot be read, which are of no use to anybody.
    pub(super) damaged: Vec<Digest>,
    /// Blobs of named images.
    pub(super) named: HashSet<Digest>,
    pub(super) sizes: HashMap<Item, u64>,
    pub(super) used: HashMap<Item, SystemTime>,
}

impl std::hash::Hash for Item {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        match self {
            Self::Step(digest) | Self::Blob(digest) => digest.hash(state),
            Self::Snapshot(id) => id.hash(state),
        }
        std::mem::discriminant(self).hash(state);
    }
}

impl Store {
    /// Everything, as it is now. What goes meanwhile is left out.
    pub(super) fn holdings(&self) -> Result<Holdings> {
        let mut holdings = Holdings {
            steps: HashMap::new(),
            damaged: Vec::new(),
            snapshots: HashMap::new(),
            blobs: self.content.list()?.into_iter().collect(),
            named: self.named_blobs()?,
            sizes: HashMap::new(),
            used: HashMap::new(),
        };
        for key in self.steps.list()? {
            match self.steps.get(&key) {
                Ok(Some(record)) => {
                    holdings.note(Item::Step(key), &self.steps.path(&key), 0)?;
                    holdings.steps.insert(key, record);
                }
                Ok(None) => {}
                Err(StoreError::Record { .. }) => holdings.damaged.push(key),
                Err(error) => return Err(error),
            }
        }
        for id in self.snapshots.list()? {
            holdings.snapshots.insert(id, self.snapshots.parent(&id)?);
            let size = disk_usage(&self.snapshots.path(&id))?;
            holdings.note(Item::Snapshot(id), &self.snapshots.record_path(&id), size)?;
        }
        for digest in holdings.blobs.clone() {
            let path = self.content.path(&digest);
            let size = disk_usage(&path)?;
            holdings.note(Item::Blob(digest), &path, size)?;
        }
        Ok(holdings)
    }

    /// Every blob that a named image needs.
    fn named_blobs(&self) -> Result<HashSet<Digest>> {
        let mut named = HashSet::new();
        let mut waiting: Vec<Descriptor> = self.images.list()?.into_values().collect();
        while let Some(descriptor) = waiting.pop() {
            if !named.insert(descriptor.digest) || !self.content.contains(&descriptor.digest) {
                continue;
            }
            let bytes = self.content.read(&descriptor.digest, MAX_MANIFEST)?;
            let Ok(view) = ManifestView::parse(&bytes, Some(&descriptor.media_type)) else { continue };
            if view.kind == ManifestKind::Index {
                waiting.extend(view.manifests);
            }
            named.extend(view.config.iter().chain(&view.layers).map(|part| part.digest));
        }
        Ok(named)
    }
}

impl Holdings {
    fn note(&mut self, item: Item, record: &Path, size: u64) -> Result<()> {
        let used = fs::metadata(record).and_then(|metadata| metadata.modified());
        if let Some(used) = unless_gone(used).at("reading", record)? {
            self.sizes.insert(item, size);
            self.used.insert(item, used);
        }
        Ok(())
    }

    /// What nothing else needs, longest unused first.
    pub(super) fn removable(&self) -> BTreeSet<(SystemTime, Item)> {
        let needed_snapshots: HashSet<SnapshotId> = self
            .steps
            .values()
            .map(|record| record.snapshot)
            .chain(self.snapshots.values().copied().flatten())
            .collect();
        let needed_blobs: HashSet<Digest> = self
            .steps
            .values()
            .filter_map(|record| record.layer.as_ref())
            .map(|layer| layer.descriptor.digest)
            .collect();
        let steps = self.steps.keys().map(|key| Item::Step(*key));
        let snapshots = self.snapshots.keys().filter(|id| !needed_snapshots.contains(id));
        let blobs = self.blobs.iter();
        let blobs = blobs.filter(|digest| !needed_blobs.contains(digest) && !self.named.contains(digest));
        steps
            .chain(snapshots.map(|id| Item::Snapshot(*id)))
            .chain(blobs.map(|digest| Item::Blob(*digest)))
            .filter_map(|item| Some((*self.used.get(&item)?, item)))
            .collect()
    }

    pub(super) fn forget(&mut self, item: &Item) -> u64 {
        match item {
            Item::Step(key) => {
                self.steps.remove(key);
            }
            Item::Snapshot(id) => {
                self.snapshots.remove(id);
            }
            Item::Blob(digest) => {
                self.blobs.remove(digest);
            }
        }
        self.used.remove(item);
        self.sizes.remove(item).unwrap_or_default()
    }
}

/// Bytes that a file or a directory takes on disk.
fn disk_usage(path: &Path) -> Result<u64> {
    /// `st_blocks` counts these, whatever the file system's own blocks are.
    const STAT_BLOCK: u64 = 512;
    let mut total = 0;
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = unless_gone(fs::symlink_metadata(&path)).at("reading the size of", &path)?;
        let Some(metadata) = metadata else { continue };
        total += metadata.blocks() * STAT_BLOCK;
        if metadata.is_dir() {
            for entry in unless_gone(fs::read_dir(&path)).at("listing", &path)?.into_iter().flatten() {
                waiting.push(entry.at("listing", &path)?.path());
            }
        }
    }
    Ok(total)
}

/// Another process may remove what it made and did not need.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
