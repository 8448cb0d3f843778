//! Mount points inside the root file system, made where the image has none and removed without a trace.
//!
//! Making a directory entry in an overlay changes the parent: it is copied up and its modification time moves. So the
//! time is put back at once, before the step runs, and a parent that was not in the upper directory before is noted.
//! After the step each thing made is removed if it is still as it was made, the parent keeping the time it has by then:
//! its old one if the step did not touch it, the step's otherwise. A parent that was only copied up is removed too.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, UTIME_OMIT, mkdirat, openat2,
    statat, unlinkat, utimensat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::mounts::open_directory;
use crate::user::walk::{Entry, Lookup, follow};

/// Marks of the overlay itself (`origin`, `impure`); any other extended attribute is somebody's work.
const OVERLAY_MARKS: [&[u8]; 2] = [b"user.overlay.origin", b"user.overlay.impure"];

/// Something the set-up left in the upper directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trace {
    /// Relative to the root, free of links.
    path: PathBuf,
    kind: TraceKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum TraceKind {
    /// An empty file was made.
    File,
    /// An empty directory was made.
    Directory,
    /// A directory of a lower layer was copied up; this is what it was like.
    CopiedUp(Metadata),
}

/// What the kernel keeps on copying up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Metadata {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: (i64, i64),
}

/// What a mount point has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PointKind {
    File,
    Directory,
}

/// Makes mount points in a mounted root file system whose changes go to `upper`.
#[derive(Debug)]
pub(super) struct MountPoints<'a> {
    /// Root of the mounted file system.
    pub(super) root: &'a OwnedFd,
    /// The upper directory itself, opened before anything was mounted over it.
    pub(super) upper: &'a OwnedFd,
    /// Everything made, in order.
    pub(super) traces: &'a mut Vec<Trace>,
}

struct Merged<'a>(&'a OwnedFd);

impl Lookup for Merged<'_> {
    fn entry(&self, path: &Path) -> io::Result<Entry> {
        crate::user::entry_at(self.0, path)
    }
}

impl MountPoints<'_> {
    /// Makes sure something of the right kind stands at `path` and returns where that is, relative to the root.
    pub(super) fn ensure(&mut self, path: &Path, kind: PointKind) -> io::Result<PathBuf> {
        let found = follow(&Merged(self.root), path)?;
        match (found.entry, kind) {
            (Entry::Directory, PointKind::Directory) | (Entry::File | Entry::Special, PointKind::File) => {}
            (Entry::Missing, _) => self.make(&found.path, kind)?,
            (_, PointKind::File) => return Err(Errno::ISDIR.into()),
            (_, PointKind::Directory) => return Err(Errno::NOTDIR.into()),
        }
        Ok(found.path)
    }

    fn make(&mut self, path: &Path, kind: PointKind) -> io::Result<()> {
        let mut missing: Vec<&Path> = Vec::new();
        for ancestor in path.ancestors() {
            if ancestor.as_os_str().is_empty() || Merged(self.root).entry(ancestor)? != Entry::Missing {
                break;
            }
            missing.push(ancestor);
        }
        while let Some(next) = missing.pop() {
            let kind = if missing.is_empty() { kind } else { PointKind::Directory };
            self.make_one(next, kind)?;
        }
        Ok(())
    }

    fn make_one(&mut self, path: &Path, kind: PointKind) -> io::Result<()> {
        let parent = parent_of(path);
        self.note_copy_up(parent)?;
        let before = stat(self.root, parent)?;
        match kind {
            PointKind::Directory => {
                mkdirat(self.root, path, Mode::from_raw_mode(0o755))?;
                self.traces.push(Trace { path: path.to_owned(), kind: TraceKind::Directory });
            }
            PointKind::File => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat2(self.root, path, flags, Mode::from_raw_mode(0o644), ResolveFlags::IN_ROOT)?;
                self.traces.push(Trace { path: path.to_owned(), kind: TraceKind::File });
            }
        }
        set_modified(self.root, parent, &before)
    }

    /// Notes every directory on the way that is only in a lower layer so far.
    fn note_copy_up(&mut self, directory: &Path) -> io::Result<()> {
        let mut copied: Vec<&Path> = Vec::new();
        for ancestor in directory.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()) {
            if crate::user::entry_at(self.upper, ancestor)? != Entry::Missing {
                break;
            }
            copied.push(ancestor);
        }
        for path in copied.into_iter().rev() {
            let kind = TraceKind::CopiedUp(Metadata::of(&stat(self.root, path)?));
            self.traces.push(Trace { path: path.to_owned(), kind });
        }
        Ok(())
    }
}

/// Removes what was made, newest first, from an upper directory that is not mounted any more.
pub(super) fn remove(upper: &Path, traces: &[Trace]) -> io::Result<()> {
    let upper = open_directory(upper)?;
    for trace in traces.iter().rev() {
        match remove_one(&upper, trace) {
            // The step put something else in its place or into it, or removed a parent: then it is the step's work.
            Err(error) if is_work_of_the_step(&error) => {}
            other => other?,
        }
    }
    Ok(())
}

fn is_work_of_the_step(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST | Errno::LOOP | Errno::ISDIR)
    )
}

fn remove_one(upper: &OwnedFd, trace: &Trace) -> io::Result<()> {
    let now = stat(upper, &trace.path)?;
    let file_type = FileType::from_raw_mode(now.st_mode);
    let (untouched, flags) = match &trace.kind {
        TraceKind::File => (file_type == FileType::RegularFile && now.st_size == 0, AtFlags::empty()),
        TraceKind::Directory => {
            let as_made = now.st_mode & 0o7777 == 0o755 && now.st_uid == 0 && now.st_gid == 0;
            (file_type == FileType::Directory && as_made, AtFlags::REMOVEDIR)
        }
        TraceKind::CopiedUp(before) => (
            Metadata::of(&now) == *before && bears_only_overlay_marks(upper, &trace.path),
            AtFlags::REMOVEDIR,
        ),
    };
    if !untouched {
        return Ok(());
    }
    let parent = parent_of(&trace.path);
    let before = stat(upper, parent)?;
    unlinkat(upper, &trace.path, flags)?;
    set_modified(upper, parent, &before)
}

fn parent_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// An empty path is the root itself, for which the kernel wants a name.
fn or_dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn stat(root: impl AsFd, path: &Path) -> io::Result<Stat> {
    Ok(statat(root.as_fd(), or_dot(path), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn set_modified(root: impl AsFd, directory: &Path, to: &Stat) -> io::Result<()> {
    let (seconds, nanoseconds) = modified(to);
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    };
    Ok(utimensat(root.as_fd(), or_dot(directory), &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[expect(clippy::useless_conversion, reason = "the field types differ between architectures and C libraries")]
fn modified(stat: &Stat) -> (i64, i64) {
    (i64::from(stat.st_mtime), i64::try_from(stat.st_mtime_nsec).unwrap_or_default())
}

impl Metadata {
    fn of(stat: &Stat) -> Self {
        Self { mode: stat.st_mode, uid: stat.st_uid, gid: stat.st_gid, modified: modified(stat) }
    }
}

fn bears_only_overlay_marks(upper: &OwnedFd, path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(directory) = openat2(upper, path, flags, Mode::empty(), ResolveFlags::BENEATH) else {
        return false;
    };
    let mut names = [0_u8; 1024];
    let Ok(length) = rustix::fs::flistxattr(&directory, &mut names[..]) else { return false };
    let names = names.get(..length).unwrap_or_default();
    names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).all(|name| OVERLAY_MARKS.contains(&name))
}

#[cfg(test)]
mod tests;
