//! Writes an archive whose bytes depend on the entries alone: no user or group names, no access or change times, no
//! device numbers of files, whole seconds, PAX records in one order and only where ustar has no room.

use std::io::{self, Read, Write};

use super::number::put_octal;
use super::pax::{self, Records, XATTR_PREFIX};
use super::{BLOCK, Entry, EntryKind, MODE_BITS, padding};
use crate::error::{At as _, Result, StoreError, shown};

/// Copy buffer between a file and the archive: large enough to make system calls rare, small enough for a cache.
const COPY_BUFFER: usize = 256 * 1024;

/// Zero blocks that close an archive.
const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// A deterministic tar writer over any sink.
#[derive(Debug)]
pub struct TarWriter<W> {
    sink: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub fn new(sink: W) -> Self {
        Self { sink, buffer: vec![0; COPY_BUFFER] }
    }

    /// Adds an entry; `content` is read for files only and must give exactly the size that the entry states.
    ///
    /// # Errors
    /// [`StoreError::Archive`] if the content is shorter or longer, [`StoreError::Io`] from source or sink.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let (header, records) = encode(entry);
        if !records.is_empty() {
            let records = pax::encode(&records);
            self.write(&pax_header(entry, records.len() as u64), entry)?;
            self.write(&records, entry)?;
            self.write(&END[..padding(records.len() as u64)], entry)?;
        }
        self.write(&header, entry)?;
        if let EntryKind::File { size } = entry.kind {
            self.copy(entry, content, size)?;
            self.write(&END[..padding(size)], entry)?;
        }
        Ok(())
    }

    /// Closes the archive and gives the sink back.
    pub fn finish(mut self) -> Result<W> {
        self.sink.write_all(&END).at("writing", "the end of the archive")?;
        Ok(self.sink)
    }

    fn write(&mut self, bytes: &[u8], entry: &Entry) -> Result<()> {
        self.sink.write_all(bytes).at("writing the archive entry", shown(&entry.path))
    }

    fn copy(&mut self, entry: &Entry, content: &mut dyn Read, size: u64) -> Result<()> {
        let changed = || StoreError::Archive {
            entry: shown(&entry.path),
            reason: "the file changed its size while it was read".to_owned(),
        };
        let mut left = size;
        while left > 0 {
            let wanted = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = read_some(content, &mut self.buffer[..wanted]).at("reading", shown(&entry.path))?;
            if count == 0 {
                return Err(changed());
            }
            self.sink.write_all(&self.buffer[..count]).at("writing the archive entry", shown(&entry.path))?;
            left -= count as u64;
        }
        match read_some(content, &mut self.buffer[..1]).at("reading", shown(&entry.path))? {
            0 => Ok(()),
            _ => Err(changed()),
        }
    }
}

fn read_some(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A ustar header and the records for what it has no room for.
fn encode(entry: &Entry) -> ([u8; BLOCK], Records) {
    let mut records = Records::new();
    let mut header = Header([0; BLOCK]);
    let mut path = entry.path.clone();
    if entry.kind == EntryKind::Directory {
        path.push(b'/');
    }
    if !header.put_path(&path) {
        records.insert(b"path".to_vec(), path);
    }
    header.number(&mut records, b"mode", MODE, u64::from(entry.mode & MODE_BITS));
    header.number(&mut records, b"uid", UID, u64::from(entry.uid));
    header.number(&mut records, b"gid", GID, u64::from(entry.gid));
    match u64::try_from(entry.modified.seconds) {
        Ok(seconds) => header.number(&mut records, b"mtime", MTIME, seconds),
        Err(_) => {
            put_octal(&mut header.0[MTIME], 0);
            records.insert(b"mtime".to_vec(), entry.modified.seconds.to_string().into_bytes());
        }
    }
    let mut size = 0;
    let kind = match &entry.kind {
        EntryKind::File { size: length } => {
            size = *length;
            b'0'
        }
        EntryKind::Hardlink { target } => {
            header.put_link(&mut records, target);
            b'1'
        }
        EntryKind::Symlink { target } => {
            header.put_link(&mut records, target);
            b'2'
        }
        EntryKind::CharacterDevice { .. } => b'3',
        EntryKind::BlockDevice { .. } => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    };
    header.0[KIND] = kind;
    header.number(&mut records, b"size", SIZE, size);
    if let EntryKind::CharacterDevice { major, minor } | EntryKind::BlockDevice { major, minor } = entry.kind
    {
        header.number(&mut records, b"SCHILY.devmajor", DEVICE_MAJOR, u64::from(major));
        header.number(&mut records, b"SCHILY.devminor", DEVICE_MINOR, u64::from(minor));
    }
    for (name, value) in &entry.xattrs {
        records.insert([XATTR_PREFIX, name].concat(), value.clone());
    }
    (header.sealed(), records)
}

/// The header of the records that belong to `entry`. Its own name is only for old tools.
fn pax_header(entry: &Entry, size: u64) -> [u8; BLOCK] {
    let mut header = Header([0; BLOCK]);
    let base = entry.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let name = [b"PaxHeaders/".as_slice(), base].concat();
    header.0[NAME][..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
    put_octal(&mut header.0[MODE], 0o644);
    put_octal(&mut header.0[UID], 0);
    put_octal(&mut header.0[GID], 0);
    put_octal(&mut header.0[MTIME], 0);
    let fits = put_octal(&mut header.0[SIZE], size);
    debug_assert!(fits, "records are far below 8 GiB");
    header.0[KIND] = b'x';
    header.sealed()
}

// Fields of POSIX's ustar header.
const NAME: std::ops::Range<usize> = 0..100;
const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const GID: std::ops::Range<usize> = 116..124;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: std::ops::Range<usize> = 157..257;
const MAGIC: std::ops::Range<usize> = 257..265;
const DEVICE_MAJOR: std::ops::Range<usize> = 329..337;
const DEVICE_MINOR: std::ops::Range<usize> = 337..345;
const PREFIX: std::ops::Range<usize> = 345..500;

struct Header([u8; BLOCK]);

impl Header {
    /// Puts a path into name, or prefix and name; `false` if there is no room, then its start stands in name.
    fn put_path(&mut self, path: &[u8]) -> bool {
        if path.len() <= NAME.len() {
            self.0[NAME][..path.len()].copy_from_slice(path);
            return true;
        }
        // The slash between prefix and name is not stored; the name must not be empty.
        let earliest = path.len() - NAME.len() - 1;
        let split = (earliest..path.len() - 1).find(|at| path.get(*at) == Some(&b'/'));
        match split {
            Some(at) if at > 0 && at <= PREFIX.len() => {
                self.0[PREFIX][..at].copy_from_slice(&path[..at]);
                self.0[NAME][..path.len() - at - 1].copy_from_slice(&path[at + 1..]);
                true
            }
            _ => {
                self.0[NAME].copy_from_slice(&path[..NAME.len()]);
                false
            }
        }
    }

    fn put_link(&mut self, records: &mut Records, target: &[u8]) {
        let length = target.len().min(LINK.len());
        self.0[LINK][..length].copy_from_slice(&target[..length]);
        if length < target.len() {
            records.insert(b"linkpath".to_vec(), target.to_vec());
        }
    }

    fn number(&mut self, records: &mut Records, key: &[u8], field: std::ops::Range<usize>, value: u64) {
        if !put_octal(&mut self.0[field.clone()], value) {
            put_octal(&mut self.0[field], 0);
            records.insert(key.to_vec(), value.to_string().into_bytes());
        }
    }

    fn sealed(mut self) -> [u8; BLOCK] {
        self.0[MAGIC].copy_from_slice(b"ustar\x0000");
        self.0[CHECKSUM].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        // Six digits, NUL, space: the form POSIX tools write.
        let fits = put_octal(&mut self.0[148..155], sum);
        debug_assert!(fits, "512 bytes sum to less than six octal digits hold");
        self.0
    }
}
