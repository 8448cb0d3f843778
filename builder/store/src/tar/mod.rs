//! Tar archives: one entry type shared by a deterministic writer (POSIX ustar, PAX records only where ustar has no
//! room) and a bounded, forgiving reader (ustar, PAX, GNU long names, GNU sparse files).

mod number;
mod pax;
mod reader;
mod sparse;
mod sparse_headers;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{ReadLimits, TarReader};
pub use writer::TarWriter;

/// Size of a header and unit of padding, in bytes (POSIX pax, "ustar Interchange Format").
pub(crate) const BLOCK: usize = 512;

/// Set-user-id, set-group-id, sticky and permission bits; the type of a file is never part of a tar mode here.
pub(crate) const MODE_BITS: u32 = 0o7777;

/// Bytes of zeros that fill a content of `size` bytes up to a whole block.
pub(crate) fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// When a file was last changed: seconds since 1970 and nanoseconds above them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModificationTime {
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl ModificationTime {
    /// A time on a whole second.
    pub fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// Extended attributes, sorted by name; names are whole (`security.capability`).
pub type ExtendedAttributes = Vec<(Vec<u8>, Vec<u8>)>;

/// One member of an archive without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as bytes. A reader gives it as it stands in the archive, so it may be absolute or hold `..`; a
    /// writer takes it relative and without a trailing slash.
    pub path: Vec<u8>,
    pub kind: EntryKind,
    /// Permission, set-id and sticky bits only.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: ModificationTime,
    pub xattrs: ExtendedAttributes,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes (for a sparse one: with its holes).
    File {
        size: u64,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of an entry that came before; `target` is that entry's path in the archive.
    Hardlink {
        target: Vec<u8>,
    },
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}
