//! Keeps the store within a size and an age. Images with a name keep their blobs whatever the limits; the rest is a
//! cache, and goes longest unused first: step records, then what nothing refers to any more.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use registry_types::{Descriptor, Digest, ManifestKind, ManifestView};

use super::{SnapshotId, StepRecord, Store};
use crate::error::{At as _, Result, StoreError};

/// Largest manifest that is read to find what it refers to: registries take no larger one.
const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// What the store is pruned to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneLimits {
    /// Bytes on disk.
    pub size: Option<u64>,
    /// What was not used for so long goes.
    pub unused_for: Option<Duration>,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneReport {
    pub steps: u64,
    pub snapshots: u64,
    pub blobs: u64,
    /// Bytes that were freed.
    pub freed: u64,
    /// Bytes that are left.
    pub left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Step(Digest),
    Snapshot(SnapshotId),
    Blob(Digest),
}

struct Holdings {
    steps: HashMap<Digest, StepRecord>,
    snapshots: HashMap<SnapshotId, Option<SnapshotId>>,
    blobs: HashSet<Digest>,
    /// Blobs of named images.
    named: HashSet<Digest>,
    sizes: HashMap<Item, u64>,
    used: HashMap<Item, SystemTime>,
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
    /// Removes what goes beyond the limits.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another process uses the store.
    pub fn prune(&mut self, limits: &PruneLimits) -> Result<PruneReport> {
        if !self.lock.try_exclusive() {
            self.lock.share().at("locking", &self.root)?;
            return Err(StoreError::Busy { path: self.root.clone() });
        }
        let result = self.remove_leftovers().and_then(|()| self.prune_alone(limits));
        self.lock.share().at("locking", &self.root)?;
        result
    }

    fn prune_alone(&self, limits: &PruneLimits) -> Result<PruneReport> {
        let mut holdings = self.holdings()?;
        let mut report = PruneReport { left: holdings.sizes.values().sum(), ..PruneReport::default() };
        let oldest_kept = limits.unused_for.and_then(|age| SystemTime::now().checked_sub(age));
        loop {
            let mut removed_any = false;
            for (used, item) in holdings.removable() {
                let too_old = oldest_kept.is_some_and(|oldest| used < oldest);
                let too_much = limits.size.is_some_and(|size| report.left > size);
                if !too_old && !too_much {
                    continue;
                }
                self.remove_item(&item)?;
                let size = holdings.forget(&item);
                report.freed += size;
                report.left -= size;
                match item {
                    Item::Step(_) => report.steps += 1,
                    Item::Snapshot(_) => report.snapshots += 1,
                    Item::Blob(_) => report.blobs += 1,
                }
                removed_any = true;
            }
            // What was removed may have held the last reference to something else.
            if !removed_any {
                return Ok(report);
            }
        }
    }

    fn remove_item(&self, item: &Item) -> Result<()> {
        match item {
            Item::Step(key) => self.steps.remove(key),
            Item::Snapshot(id) => self.snapshots.remove(id),
            Item::Blob(digest) => self.content.remove(digest),
        }
    }

    fn holdings(&self) -> Result<Holdings> {
        let mut holdings = Holdings {
            steps: HashMap::new(),
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
                // A damaged record is of no use to anybody.
                Err(StoreError::Record { .. }) => self.steps.remove(&key)?,
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
        let used = fs::metadata(record).and_then(|metadata| metadata.modified()).at("reading", record)?;
        self.sizes.insert(item, size);
        self.used.insert(item, used);
        Ok(())
    }

    /// What nothing else needs, longest unused first.
    fn removable(&self) -> BTreeSet<(SystemTime, Item)> {
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

    fn forget(&mut self, item: &Item) -> u64 {
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
        let metadata = fs::symlink_metadata(&path).at("reading the size of", &path)?;
        total += metadata.blocks() * STAT_BLOCK;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).at("listing", &path)? {
                waiting.push(entry.at("listing", &path)?.path());
            }
        }
    }
    Ok(total)
}
