//! A small disk in memory: for a registry that runs out of space.

use std::{path::Path, process::Command};

use anyhow::Result;
use tempfile::TempDir;

use crate::run;

/// A mounted tmpfs, unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Needs root.
    pub fn mount(mebibytes: u32) -> Result<Self> {
        let disk = Self { folder: tempfile::Builder::new().prefix("slipway-disk-").tempdir()? };
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "slipway-tests"]).arg(disk.path());
        run(&mut mount, b"")?.ok()?;
        Ok(disk)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that still ends does not keep the mount.
        let _ = run(Command::new("umount").arg("--lazy").arg(self.folder.path()), b"");
    }
}
