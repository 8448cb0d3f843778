//! Making and removing single files relative to an open directory. Nothing here follows a link.
//!
//! Order of setting: content, owner, extended attributes, mode, times. A change of owner clears set-id bits and
//! capabilities, a mode may forbid setting attributes, and everything but the time itself changes the time.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::FileKind;
use super::attributes;
use super::root::{metadata_at, names};
use crate::tar::{Entry, EntryKind, MODE_BITS, ModificationTime};

/// Copy buffer, and granularity in which runs of zeros become holes.
const COPY_BUFFER: usize = 128 * 1024;

/// Whether owners are set as stated. An ordinary user outside a user namespace cannot give files away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    AsStated,
    Callers,
}

fn mode(bits: u32) -> Mode {
    Mode::from_raw_mode(bits & MODE_BITS)
}

fn times(modified: ModificationTime) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: i64::from(modified.nanoseconds) },
    }
}

/// Sets the time of a file or link by name.
pub(super) fn set_time(
    directory: BorrowedFd<'_>,
    name: &[u8],
    modified: ModificationTime,
) -> rustix::io::Result<()> {
    rustix::fs::utimensat(directory, name, &times(modified), AtFlags::SYMLINK_NOFOLLOW)
}

/// Opens a directory by name, not through a link.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Sets owner, mode and attributes of an open directory; its time must wait until its content is complete.
pub(super) fn dress_directory(
    directory: BorrowedFd<'_>,
    entry: &Entry,
    ownership: Ownership,
) -> rustix::io::Result<()> {
    if ownership == Ownership::AsStated {
        rustix::fs::fchown(directory, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    attributes::replace(directory, &entry.xattrs)?;
    rustix::fs::fchmod(directory, mode(entry.mode))
}

/// Sets owner, mode and time of a file that is there. A symbolic link has no mode, and is left alone.
pub(super) fn dress_file(
    directory: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    ownership: Ownership,
) -> rustix::io::Result<()> {
    let metadata = metadata_at(directory, name)?.ok_or(Errno::NOENT)?;
    if metadata.kind == FileKind::Symlink {
        return Ok(());
    }
    // A change of owner takes a file's capabilities away, also one that changes nothing.
    let is_owner = (metadata.uid, metadata.gid) == (entry.uid, entry.gid);
    set_looks(directory, name, entry, if is_owner { Ownership::Callers } else { ownership })
}

/// Makes the file that `entry` describes under a name that is free. Directories and hard links are made elsewhere.
pub(super) fn make(
    directory: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    content: &mut dyn Read,
    ownership: Ownership,
) -> io::Result<()> {
    match &entry.kind {
        EntryKind::File { size } => return make_file(directory, name, entry, *size, content, ownership),
        EntryKind::Symlink { target } => rustix::fs::symlinkat(target.as_slice(), directory, name)?,
        EntryKind::Fifo => make_node(directory, name, FileType::Fifo, (0, 0))?,
        EntryKind::CharacterDevice { major, minor } => {
            make_node(directory, name, FileType::CharacterDevice, (*major, *minor))?;
        }
        EntryKind::BlockDevice { major, minor } => {
            make_node(directory, name, FileType::BlockDevice, (*major, *minor))?;
        }
        EntryKind::Directory | EntryKind::Hardlink { .. } => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file of its own"));
        }
    }
    Ok(set_looks(directory, name, entry, ownership)?)
}

/// Sets owner, mode and time by name.
fn set_looks(
    directory: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    ownership: Ownership,
) -> rustix::io::Result<()> {
    if ownership == Ownership::AsStated {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if !matches!(entry.kind, EntryKind::Symlink { .. }) {
        rustix::fs::chmodat(directory, name, mode(entry.mode), AtFlags::empty())?;
    }
    set_time(directory, name, entry.modified)
}

fn make_node(
    directory: BorrowedFd<'_>,
    name: &[u8],
    kind: FileType,
    (major, minor): (u32, u32),
) -> rustix::io::Result<()> {
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(directory, name, kind, Mode::RUSR | Mode::WUSR, device)
}

fn make_file(
    directory: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    size: u64,
    content: &mut dyn Read,
    ownership: Ownership,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?);
    copy_sparse(content, &mut file, size)?;
    if ownership == Ownership::AsStated {
        rustix::fs::fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    attributes::write(file.as_fd(), &entry.xattrs)?;
    rustix::fs::fchmod(&file, mode(entry.mode))?;
    Ok(rustix::fs::futimens(&file, &times(entry.modified))?)
}

/// Copies exactly `size` bytes; whole buffers of zeros become holes.
fn copy_sparse(content: &mut dyn Read, file: &mut File, size: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER.min(usize::try_from(size).unwrap_or(usize::MAX))];
    let mut left = size;
    let mut hole_at_end = false;
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        content.read_exact(&mut buffer[..wanted])?;
        hole_at_end = wanted == COPY_BUFFER && buffer.iter().all(|byte| *byte == 0);
        if hole_at_end {
            io::Seek::seek(file, io::SeekFrom::Current(wanted as i64))?;
        } else {
            file.write_all(&buffer[..wanted])?;
        }
        left -= wanted as u64;
    }
    if hole_at_end { file.set_len(size) } else { Ok(()) }
}

/// Makes a whiteout under a free name: a 0:0 device, or where that is forbidden an empty file with a mark.
pub(super) fn make_whiteout(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    match rustix::fs::mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
        Err(Errno::PERM | Errno::ACCESS) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, Mode::RUSR)?;
            // A handle for looking only takes no attributes.
            let directory = open_directory(directory, b".")?;
            attributes::mark_whiteout(directory.as_fd(), file.as_fd())
        }
        result => result,
    }
}

/// Removes a file or a whole directory. At most three directories are open at once, however deep the tree: inner
/// directories are moved up beside the outer one before they are emptied.
pub(crate) fn remove_recursively(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    let Some(metadata) = metadata_at(parent, name)? else { return Ok(()) };
    if !metadata.is_directory() {
        return rustix::fs::unlinkat(parent, name, AtFlags::empty());
    }
    let top = open_writable(parent, name)?;
    let mut moved = 0_u64;
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    empty(top.as_fd(), top.as_fd(), &mut waiting, &mut moved)?;
    while let Some(inner) = waiting.pop() {
        let directory = open_writable(top.as_fd(), &inner)?;
        empty(directory.as_fd(), top.as_fd(), &mut waiting, &mut moved)?;
        rustix::fs::unlinkat(&top, inner.as_slice(), AtFlags::REMOVEDIR)?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// Removes the files in `directory` and moves its directories to names of their own in `top`.
fn empty(
    directory: BorrowedFd<'_>,
    top: BorrowedFd<'_>,
    waiting: &mut Vec<Vec<u8>>,
    moved: &mut u64,
) -> rustix::io::Result<()> {
    for name in names(directory)? {
        match rustix::fs::unlinkat(directory, name.as_slice(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                // A directory's ".." is rewritten by the move, which takes the right to write in it.
                drop(open_writable(directory, &name)?);
                let place = loop {
                    *moved += 1;
                    let place = format!(".removing-{moved}").into_bytes();
                    if metadata_at(top, &place)?.is_none() {
                        break place;
                    }
                };
                rustix::fs::renameat(directory, name.as_slice(), top, place.as_slice())?;
                waiting.push(place);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens a directory to change it; an owner who took his own rights away gets them back.
fn open_writable(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let metadata = metadata_at(parent, name)?.ok_or(Errno::NOENT)?;
    if metadata.is_directory() && metadata.mode & 0o700 != 0o700 {
        rustix::fs::chmodat(parent, name, mode(metadata.mode | 0o700), AtFlags::empty())?;
    }
    open_directory(parent, name)
}
