//! What a step with a given cache key made. A record is written last, when snapshot and layer are in the store, and is
//! worth nothing without them.

use std::path::{Path, PathBuf};

use registry_types::{Descriptor, Digest};
use serde::{Deserialize, Serialize};

use super::SnapshotId;
use super::files;
use crate::error::Result;

/// Result of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The file tree behind the step.
    pub snapshot: SnapshotId,
    /// The layer it adds to the image; absent if the step changed no file.
    pub layer: Option<StepLayer>,
}

/// A layer as an image needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLayer {
    /// The compressed archive in the content store.
    pub descriptor: Descriptor,
    /// sha256 of the uncompressed archive.
    pub diff_id: Digest,
}

/// Records by cache key.
#[derive(Debug, Clone)]
pub struct StepRecords {
    directory: PathBuf,
}

const SUFFIX: &str = ".json";

impl StepRecords {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let directory = root.join("steps");
        files::make_directory(&directory)?;
        Ok(Self { directory })
    }

    /// Keeps what a step made. Of two builds that made the same step the later record stays; both are true.
    pub fn insert(&self, key: &Digest, record: &StepRecord) -> Result<()> {
        files::write_record(&self.path(key), record)
    }

    /// The record as written; [`super::Store::step`] also checks that it still holds.
    pub(super) fn get(&self, key: &Digest) -> Result<Option<StepRecord>> {
        files::read_record(&self.path(key))
    }

    pub fn remove(&self, key: &Digest) -> Result<()> {
        files::remove_file(&self.path(key))
    }

    /// Keys of all records.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let names = files::names_in(&self.directory)?;
        let keys = names.iter().filter_map(|name| name.strip_suffix(SUFFIX));
        Ok(keys.filter_map(|hex| format!("sha256:{hex}").parse().ok()).collect())
    }

    pub(super) fn path(&self, key: &Digest) -> PathBuf {
        self.directory.join(format!("{}{SUFFIX}", key.hex()))
    }

    pub(super) fn remove_leftovers(&self) -> Result<()> {
        for name in files::names_in(&self.directory)? {
            if name.starts_with(files::TEMPORARY) {
                files::remove_file(&self.directory.join(name))?;
            }
        }
        Ok(())
    }
}
