//! Reading a stack of layers as one tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};

use crate::advice;
use crate::error::RuntimeError;
use crate::mounts::{Detached, open_directory};
use crate::namespace;
use crate::overlay::Layers;
use crate::wire::{Failure, SetupStage};

/// Numbers the mount points of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Layers merged read-only into one tree, mounted inside the builder namespace; unmounted on drop.
///
/// One layer is used as it is, without a mount; none give an empty tree.
#[derive(Debug)]
pub struct MergedView {
    path: PathBuf,
    mount_point: Option<MountPoint>,
}

impl MergedView {
    /// Merges `layers` (uppermost first); a mount point is made in the directory `storage` and removed again.
    ///
    /// # Errors
    /// [`RuntimeError::NotInBuilderNamespace`] where the mount would be seen by the whole machine,
    /// [`RuntimeError::Unavailable`] when the kernel refuses, [`RuntimeError::File`] when `storage` cannot be written.
    pub fn mount(layers: &[PathBuf], storage: &Path) -> Result<Self, RuntimeError> {
        if let [only] = layers {
            return Ok(Self { path: only.clone(), mount_point: None });
        }
        if namespace::entered().is_none() {
            return Err(RuntimeError::NotInBuilderNamespace { what: "merging layers for reading" });
        }
        let mut mount_point = MountPoint::create(storage)?;
        mount_on(&mount_point.path, layers).map_err(|failure| advice::unavailable(&failure))?;
        mount_point.mounted = true;
        Ok(Self { path: mount_point.path.clone(), mount_point: Some(mount_point) })
    }

    /// Where the merged tree can be read. Symbolic links in it are the image's own: follow none outside of it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a mount was needed.
    pub fn is_mounted(&self) -> bool {
        self.mount_point.as_ref().is_some_and(|mount_point| mount_point.mounted)
    }
}

fn mount_on(path: &Path, layers: &[PathBuf]) -> Result<(), Failure> {
    if layers.is_empty() {
        let empty = || {
            Detached::new("tmpfs", &[("mode", "0755")], MountAttrFlags::MOUNT_ATTR_RDONLY)?
                .attach(open_directory(path)?)
                .map(drop)
        };
        return empty()
            .map_err(|error| Failure::from_errno(SetupStage::Overlay, "mounting an empty tree", error));
    }
    Layers::open(layers, None)
        .and_then(|opened| opened.mount(path))
        .map(drop)
        .map_err(|error| Failure::from_errno(SetupStage::Overlay, error.what, error.source))
}

#[derive(Debug)]
struct MountPoint {
    path: PathBuf,
    mounted: bool,
}

impl MountPoint {
    fn create(storage: &Path) -> Result<Self, RuntimeError> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = storage.join(format!(".merged-{}-{number}", std::process::id()));
        fs::create_dir(&path).map_err(|error| RuntimeError::file("creating mount point", &path, error))?;
        Ok(Self { path, mounted: false })
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        if self.mounted {
            // Detached: a file still open keeps the tree alive until it is closed, and the name is free at once.
            let _ = unmount(&self.path, UnmountFlags::DETACH);
        }
        let _ = fs::remove_dir(&self.path);
    }
}
