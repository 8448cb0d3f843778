//! What the system says of a file, in one form for every file system and processor.

use rustix::fs::{FileType, Statx};

use crate::tar::{MODE_BITS, ModificationTime};

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Fifo,
    Socket,
}

/// Metadata of one file, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    pub kind: FileKind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    pub modified: ModificationTime,
    /// Major and minor number of a device file.
    pub device: (u32, u32),
    /// Device and inode number: equal for two names of one file.
    pub identity: (u64, u64),
    /// How many names the file has.
    pub links: u32,
    /// Change of the inode, in seconds and nanoseconds.
    pub changed: (i64, u32),
}

impl Metadata {
    pub(crate) fn new(status: &Statx) -> Self {
        let kind = match FileType::from_raw_mode(u32::from(status.stx_mode)) {
            FileType::Directory => FileKind::Directory,
            FileType::Symlink => FileKind::Symlink,
            FileType::CharacterDevice => FileKind::CharacterDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::RegularFile | FileType::Unknown => FileKind::File,
        };
        let device = u64::from(status.stx_dev_major) << 32 | u64::from(status.stx_dev_minor);
        Self {
            kind,
            mode: u32::from(status.stx_mode) & MODE_BITS,
            uid: status.stx_uid,
            gid: status.stx_gid,
            size: status.stx_size,
            modified: ModificationTime {
                seconds: status.stx_mtime.tv_sec,
                nanoseconds: status.stx_mtime.tv_nsec,
            },
            device: (status.stx_rdev_major, status.stx_rdev_minor),
            identity: (device, status.stx_ino),
            links: status.stx_nlink,
            changed: (status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec),
        }
    }

    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }

    /// The kernel's own whiteout: a character device 0:0.
    pub(crate) fn is_whiteout_device(&self) -> bool {
        self.kind == FileKind::CharacterDevice && self.device == (0, 0)
    }
}
