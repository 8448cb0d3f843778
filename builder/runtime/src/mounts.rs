//! Mounting through file descriptors: no path inside an untrusted root file system is ever followed out of it, and a
//! mount exists nowhere before it is complete.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::sys;

/// A mount that is not attached anywhere yet; it vanishes when dropped.
#[derive(Debug)]
pub(crate) struct Detached(OwnedFd);

impl Detached {
    /// A new instance of file system `kind` with `options`.
    pub(crate) fn new(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<Self> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
        fsconfig_create(context.as_fd())?;
        Self::from_context(context, attributes)
    }

    /// The mount of a configured file system context.
    pub(crate) fn from_context(context: impl AsFd, attributes: MountAttrFlags) -> io::Result<Self> {
        Ok(Self(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?))
    }

    /// A bind mount of `path`, seen from this process.
    pub(crate) fn bind(path: &Path, recursive: bool) -> io::Result<Self> {
        Ok(Self(open_tree(CWD, path, clone_flags(recursive))?))
    }

    /// A bind mount of an open file or directory.
    pub(crate) fn bind_open(file: impl AsFd, recursive: bool) -> io::Result<Self> {
        Ok(Self(open_tree(file.as_fd(), "", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)?))
    }

    /// Adds attributes to the mount, and to all below it if `recursive`.
    pub(crate) fn restrict(self, recursive: bool, attributes: MountAttrFlags) -> io::Result<Self> {
        sys::set_mount_attributes(self.0.as_fd(), recursive, attributes)?;
        Ok(self)
    }

    /// Attaches the mount to the open file or directory `target` and returns its root.
    pub(crate) fn attach(self, target: impl AsFd) -> io::Result<OwnedFd> {
        move_mount(
            self.0.as_fd(),
            "",
            target.as_fd(),
            "",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        )?;
        Ok(self.0)
    }
}

fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags }
}

/// Opens `path` for use as a mount point or source, resolved as if `root` were `/`: neither an absolute symbolic
/// link nor `..` leads out.
pub(crate) fn open_in_root(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let relative = path.strip_prefix("/").unwrap_or(path);
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(root.as_fd(), relative, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

/// Opens a directory by its path in this process, for use in mount calls only.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}
