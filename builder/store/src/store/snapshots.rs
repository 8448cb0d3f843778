//! Snapshots: one directory per committed layer or step, each to be mounted over its parents.
//!
//! `snapshots/HEX/fs` holds the files in overlay's form, `snapshots/HEX/record.json` the parent. A snapshot is made
//! under `snapshots/pending/` and appears by one rename, so it is whole or not there; what a killed process left in
//! `pending` is removed by the next one that has the store to itself.
//!
//! The many files of a snapshot are not synced one by one. A snapshot carries the id of the boot it was made in until
//! [`super::Store::sync`] has put it on the disk; one of an earlier boot that was not is removed by the first process
//! that opens the store, since a power cut may have emptied its files.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use registry_types::Digest;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::files::{self, FileLock};
use crate::error::{At as _, Result, StoreError};
use crate::tree::{Tree, WritableTree, remove_recursively};

/// Most snapshots over one another: overlay takes 500 layers.
pub const MAX_CHAIN: usize = 500;

const RECORD: &str = "record.json";
const FILES: &str = "fs";
const WORK: &str = "work";
const PENDING: &str = "pending";
const LOCKS: &str = "locks";

/// Name of a snapshot: the chain ID of layers, or the cache key of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(Digest);

impl SnapshotId {
    /// The snapshot that a step with this cache key makes.
    pub fn from_key(key: Digest) -> Self {
        Self(key)
    }

    /// The snapshot of the layers with these diffIDs, lowest first (image specification, "Layer ChainID"); `None`
    /// for no layers.
    pub fn of_layers(diff_ids: &[Digest]) -> Option<Self> {
        let (first, rest) = diff_ids.split_first()?;
        Some(Self(
            rest.iter()
                .fold(*first, |chain, diff_id| Digest::sha256(format!("{chain} {diff_id}").as_bytes())),
        ))
    }

    pub fn digest(&self) -> &Digest {
        &self.0
    }
}

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    parent: Option<SnapshotId>,
    /// The boot in which it was made, unless it is known to be on the disk.
    unsynced_since_boot: Option<String>,
}

/// A committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub id: SnapshotId,
    pub parent: Option<SnapshotId>,
    /// Its own files in overlay's form.
    pub files: PathBuf,
}

/// All snapshots of a store.
#[derive(Debug, Clone)]
pub struct Snapshots {
    directory: PathBuf,
}

impl Snapshots {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let directory = root.join("snapshots");
        for inner in [PENDING, LOCKS] {
            files::make_directory(&directory.join(inner))?;
        }
        Ok(Self { directory })
    }

    /// A committed snapshot; its use is noted.
    pub fn get(&self, id: &SnapshotId) -> Result<Option<Snapshot>> {
        let path = self.path(id);
        let Some(record) = files::read_record::<Record>(&path.join(RECORD))? else { return Ok(None) };
        files::touch(&path.join(RECORD));
        Ok(Some(Snapshot { id: *id, parent: record.parent, files: path.join(FILES) }))
    }

    /// Directories to mount, uppermost first: the snapshot's own and those of its parents.
    ///
    /// # Errors
    /// [`StoreError::SnapshotNotFound`] if one is missing.
    pub fn layers(&self, id: &SnapshotId) -> Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        let mut next = Some(*id);
        while let Some(id) = next {
            let snapshot = self.get(&id)?;
            let snapshot = snapshot.ok_or_else(|| StoreError::SnapshotNotFound { id: id.to_string() })?;
            if layers.len() == MAX_CHAIN {
                return Err(StoreError::Limit { what: "the number of layers", limit: MAX_CHAIN as u64 });
            }
            layers.push(snapshot.files);
            next = snapshot.parent;
        }
        Ok(layers)
    }

    /// Begins a snapshot over `parent`: an empty upper directory with the parent's root metadata, and a work directory.
    pub fn prepare(&self, parent: Option<&SnapshotId>) -> Result<Upper> {
        let lowers = match parent {
            Some(parent) => self.layers(parent)?,
            None => Vec::new(),
        };
        let pending = self.directory.join(PENDING);
        let directory = tempfile::Builder::new().prefix(files::TEMPORARY).tempdir_in(&pending);
        let upper = Upper {
            snapshots: self.clone(),
            directory: directory.at("making a directory in", &pending)?.keep(),
            parent: parent.copied(),
            lowers,
            done: false,
        };
        for (path, mode) in [(upper.files(), 0o755), (upper.work(), 0o700)] {
            fs::create_dir(&path).at("making the directory", &path)?;
            // The mode that mkdir gives depends on the caller's umask.
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).at("setting the mode of", &path)?;
        }
        if !upper.lowers.is_empty() {
            let below = Tree::open(&upper.lowers)?;
            if let Some(root) = below.entry(&below.root()?)? {
                let mut tree = upper.tree()?;
                tree.put_root(&root)?;
                tree.finish()?;
            }
        }
        Ok(upper)
    }

    /// Removes a snapshot; that it is not there is fine. Others over it become useless.
    pub fn remove(&self, id: &SnapshotId) -> Result<()> {
        // Out of sight first, so that a removal that is cut off leaves no half snapshot.
        let place = self.directory.join(PENDING).join(format!("{}removed-{}", files::TEMPORARY, id.0.hex()));
        match fs::rename(self.path(id), &place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => {
                result.at("removing", self.path(id))?;
                remove_directory(&place)
            }
        }
    }

    /// Ids of all committed snapshots.
    pub fn list(&self) -> Result<Vec<SnapshotId>> {
        let names = files::names_in(&self.directory)?;
        Ok(names.iter().filter_map(|name| format!("sha256:{name}").parse().ok().map(SnapshotId)).collect())
    }

    /// Keeps other builds from making the same snapshot at the same time.
    pub(super) fn lock(&self, id: &SnapshotId) -> Result<FileLock> {
        FileLock::exclusive(&self.directory.join(LOCKS).join(id.0.hex()))
    }

    pub(super) fn path(&self, id: &SnapshotId) -> PathBuf {
        self.directory.join(id.0.hex())
    }

    /// The file whose time tells the last use.
    pub(super) fn record_path(&self, id: &SnapshotId) -> PathBuf {
        self.path(id).join(RECORD)
    }

    /// Parent without noting a use.
    pub(super) fn parent(&self, id: &SnapshotId) -> Result<Option<SnapshotId>> {
        Ok(files::read_record::<Record>(&self.record_path(id))?.and_then(|record| record.parent))
    }

    /// The snapshots that a power cut might take.
    pub fn unsynced(&self) -> Result<Vec<SnapshotId>> {
        let mut unsynced = Vec::new();
        for id in self.list()? {
            let record = files::read_record::<Record>(&self.record_path(&id))?;
            if record.is_some_and(|record| record.unsynced_since_boot.is_some()) {
                unsynced.push(id);
            }
        }
        Ok(unsynced)
    }

    /// Notes of the snapshots in `ids` that they are on the disk.
    pub(super) fn mark_synced(&self, ids: &[SnapshotId]) -> Result<()> {
        for id in ids {
            let path = self.record_path(id);
            if let Some(record) = files::read_record::<Record>(&path)? {
                files::write_record(&path, &Record { unsynced_since_boot: None, ..record })?;
            }
        }
        Ok(())
    }

    /// Removes what killed processes and power cuts left. Only for who holds the store alone.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        for id in self.list()? {
            let whole = match files::read_record::<Record>(&self.record_path(&id)) {
                Ok(record) => record
                    .is_some_and(|record| record.unsynced_since_boot.is_none_or(|boot| boot == boot_id())),
                Err(StoreError::Record { .. }) => false,
                Err(error) => return Err(error),
            };
            if !whole {
                self.remove(&id)?;
            }
        }
        let pending = self.directory.join(PENDING);
        for name in files::names_in(&pending)? {
            remove_directory(&pending.join(name))?;
        }
        for name in files::names_in(&self.directory.join(LOCKS))? {
            files::remove_file(&self.directory.join(LOCKS).join(name))?;
        }
        Ok(())
    }
}

/// A snapshot in the making. Dropped without a commit, it is removed.
#[derive(Debug)]
pub struct Upper {
    snapshots: Snapshots,
    directory: PathBuf,
    parent: Option<SnapshotId>,
    lowers: Vec<PathBuf>,
    done: bool,
}

impl Upper {
    /// Overlay's upper directory.
    pub fn files(&self) -> PathBuf {
        self.directory.join(FILES)
    }

    /// Overlay's work directory.
    pub fn work(&self) -> PathBuf {
        self.directory.join(WORK)
    }

    /// Overlay's lower directories, uppermost first.
    pub fn lowers(&self) -> &[PathBuf] {
        &self.lowers
    }

    pub fn parent(&self) -> Option<&SnapshotId> {
        self.parent.as_ref()
    }

    /// The upper directory over its lowers, to be written without a mount.
    pub fn tree(&self) -> Result<WritableTree> {
        WritableTree::open(&self.files(), &self.lowers)
    }

    /// Makes the snapshot visible. It must not be mounted any more. If another build was first with the same id, that
    /// one stays and is returned.
    pub fn commit(mut self, id: SnapshotId) -> Result<Snapshot> {
        remove_directory(&self.work())?;
        let record = Record { parent: self.parent, unsynced_since_boot: Some(boot_id()) };
        files::write_record(&self.directory.join(RECORD), &record)?;
        let place = self.snapshots.path(&id);
        match rustix::fs::rename(&self.directory, &place) {
            Ok(()) => {
                self.done = true;
                Ok(Snapshot { id, parent: self.parent, files: place.join(FILES) })
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                let first = self.snapshots.get(&id)?;
                first.ok_or_else(|| StoreError::SnapshotNotFound { id: id.to_string() })
            }
            Err(error) => Err(error).at("making the snapshot", place),
        }
    }
}

impl Drop for Upper {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed now is removed by the next process that has the store to itself.
            let _ = remove_directory(&self.directory);
        }
    }
}

/// Tells this boot of the machine from others; empty where the kernel does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn remove_directory(path: &Path) -> Result<()> {
    let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(()) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, parent, flags, Mode::empty())
        .and_then(|parent| remove_recursively(parent.as_fd(), name.as_encoded_bytes()))
        .at("removing", path)
}
