//! A handle on a directory under which paths are opened so that no symbolic link on the way is followed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use super::{Metadata, TreePath};
use crate::error::{At as _, Result};

/// Longest target of a symbolic link (`PATH_MAX`).
const MAX_LINK: usize = 4096;

/// The root directory of a tree on disk.
#[derive(Debug)]
pub(crate) struct Root {
    handle: OwnedFd,
    path: PathBuf,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, path, flags, Mode::empty()).at("opening the directory", path)?;
        Ok(Self { handle, path: path.to_owned() })
    }

    /// Where the file lies on disk, for messages.
    pub(crate) fn shown(&self, path: &TreePath) -> PathBuf {
        self.path.join(path.as_path())
    }

    /// Opens `path` with no symbolic link followed anywhere. `None` if it is not there, or if something that is no
    /// directory stands in its way.
    pub(crate) fn open_beneath(&self, path: &TreePath, flags: OFlags) -> Result<Option<OwnedFd>> {
        match open_beneath(self.handle.as_fd(), path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC) {
            Ok(handle) => Ok(Some(handle)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error).at("opening", self.shown(path)),
        }
    }

    /// A handle for looking only, and what the file is.
    pub(crate) fn look(&self, path: &TreePath) -> Result<Option<(OwnedFd, Metadata)>> {
        let Some(handle) = self.open_beneath(path, OFlags::PATH)? else { return Ok(None) };
        let metadata = metadata_of(handle.as_fd()).at("reading the metadata of", self.shown(path))?;
        Ok(Some((handle, metadata)))
    }

    /// Opens a file or directory for reading. Never blocks on a fifo, never becomes a terminal.
    pub(crate) fn open_to_read(&self, path: &TreePath) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.open_beneath(path, flags)?
            .ok_or(io::Error::from(io::ErrorKind::NotFound))
            .at("opening", self.shown(path))
    }

    pub(crate) fn read_link(&self, path: &TreePath) -> Result<Vec<u8>> {
        let handle = self
            .open_beneath(path, OFlags::PATH)?
            .ok_or(io::Error::from(io::ErrorKind::NotFound))
            .at("opening", self.shown(path))?;
        let target = rustix::fs::readlinkat(&handle, "", Vec::with_capacity(MAX_LINK));
        Ok(target.at("reading the symbolic link", self.shown(path))?.into_bytes())
    }

    /// Names in a directory, in no order.
    pub(crate) fn names(&self, path: &TreePath) -> Result<Vec<Vec<u8>>> {
        let handle = self.open_to_read(path)?;
        names(handle.as_fd()).at("listing", self.shown(path))
    }
}

/// Names in an open directory, without `.` and `..`, in no order.
pub(crate) fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

pub(crate) fn metadata_of(handle: BorrowedFd<'_>) -> rustix::io::Result<Metadata> {
    let status = rustix::fs::statx(handle, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(Metadata::new(&status))
}

/// Metadata of a name in a directory, links not followed.
pub(crate) fn metadata_at(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Option<Metadata>> {
    match rustix::fs::statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
        Ok(status) => Ok(Some(Metadata::new(&status))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn open_beneath(root: BorrowedFd<'_>, path: &TreePath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let text: &[u8] = if path.is_root() { b"." } else { path.as_bytes() };
    loop {
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        match rustix::fs::openat2(root, text, flags, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Kernels before 5.6 lack the call, and old container runtimes deny it.
            Err(Errno::NOSYS | Errno::PERM) => return open_step_by_step(root, path, flags),
            result => return result,
        }
    }
}

/// The same by opening one part after the other.
fn open_step_by_step(root: BorrowedFd<'_>, path: &TreePath, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = rustix::fs::openat(root, ".", step, Mode::empty())?;
    let mut components = path.components().peekable();
    if components.peek().is_none() {
        return rustix::fs::openat(&directory, ".", flags, Mode::empty());
    }
    while let Some(name) = components.next() {
        if components.peek().is_none() {
            return rustix::fs::openat(&directory, name, flags, Mode::empty());
        }
        directory = rustix::fs::openat(&directory, name, step, Mode::empty())?;
    }
    Ok(directory)
}

/// Whether two open files hold the same bytes.
pub(crate) fn same_content(mut one: File, mut other: File) -> io::Result<bool> {
    /// Bytes compared at once.
    const CHUNK: usize = 64 * 1024;
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let count = one.read(&mut left)?;
        if count == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        match other.read_exact(&mut right[..count]) {
            Ok(()) if left[..count] == right[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_never_followed_and_both_ways_agree() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("real/inner")).unwrap();
        std::fs::write(directory.path().join("real/inner/file"), b"x").unwrap();
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        for (name, there) in [
            ("", true),
            ("real/inner/file", true),
            ("link", true),
            ("link/inner/file", false),
            ("real/inner/file/below", false),
            ("missing", false),
        ] {
            let path = TreePath::parse(name.as_bytes()).unwrap();
            assert_eq!(root.look(&path).unwrap().is_some(), there, "{name}");
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            assert_eq!(open_step_by_step(root.handle.as_fd(), &path, flags).is_ok(), there, "{name}");
        }
        assert_eq!(root.read_link(&TreePath::parse(b"link").unwrap()).unwrap(), b"real");
    }
}
