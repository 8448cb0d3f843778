//! Keeps the store within a size and an age. Images with a name keep their blobs whatever the limits; the rest is a
//! cache, and goes longest unused first: step records, then what nothing refers to any more.

use std::time::{Duration, SystemTime};

use super::Store;
use super::holdings::Item;
use crate::error::{At as _, Result, StoreError};

/// What the store is pruned to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneLimits {
    /// Bytes on disk.
    pub size: Option<u64>,
    /// What was not used for so long goes.
    pub unused_for: Option<Duration>,
    /// Takes all names away, so that their images go like the rest.
    pub names: bool,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Names of images.
    pub names: u64,
    pub steps: u64,
    pub snapshots: u64,
    pub blobs: u64,
    /// Bytes that were freed.
    pub freed: u64,
    /// Bytes that are left.
    pub left: u64,
}

impl Store {
    /// Removes what goes beyond the limits.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another process uses the store.
    pub fn prune(&mut self, limits: &PruneLimits) -> Result<PruneReport> {
        self.alone(|store| {
            store.remove_leftovers()?;
            store.prune_alone(limits, &mut |item| store.remove_it(item))
        })
    }

    /// What [`Store::prune`] would remove now.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if another process uses the store.
    pub fn would_prune(&mut self, limits: &PruneLimits) -> Result<PruneReport> {
        self.alone(|store| store.prune_alone(limits, &mut |_| Ok(())))
    }

    fn alone<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        if !self.lock.try_exclusive() {
            self.lock.share().at("locking", &self.root)?;
            return Err(StoreError::Busy { path: self.root.clone() });
        }
        let result = work(self);
        self.lock.share().at("locking", &self.root)?;
        result
    }

    fn prune_alone(
        &self,
        limits: &PruneLimits,
        remove: &mut dyn FnMut(&Removal) -> Result<()>,
    ) -> Result<PruneReport> {
        let mut holdings = self.holdings()?;
        let mut report = PruneReport { left: holdings.sizes.values().sum(), ..PruneReport::default() };
        for key in std::mem::take(&mut holdings.damaged) {
            remove(&Removal::Item(Item::Step(key)))?;
        }
        if limits.names {
            // Before what they name, so that no name is ever without its image.
            report.names = self.images.list()?.len() as u64;
            remove(&Removal::Names)?;
            holdings.named.clear();
        }
        let oldest_kept = limits.unused_for.and_then(|age| SystemTime::now().checked_sub(age));
        loop {
            let mut removed_any = false;
            for (used, item) in holdings.removable() {
                let too_old = oldest_kept.is_some_and(|oldest| used < oldest);
                let too_much = limits.size.is_some_and(|size| report.left > size);
                if !too_old && !too_much {
                    continue;
                }
                remove(&Removal::Item(item))?;
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

    fn remove_it(&self, removal: &Removal) -> Result<()> {
        match removal {
            Removal::Names => self.images.clear(),
            Removal::Item(Item::Step(key)) => self.steps.remove(key),
            Removal::Item(Item::Snapshot(id)) => self.snapshots.remove(id),
            Removal::Item(Item::Blob(digest)) => self.content.remove(digest),
        }
    }
}

/// One thing that pruning takes away.
enum Removal {
    Names,
    Item(Item),
}
