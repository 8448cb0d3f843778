//! Reads archives from anywhere. Every length is checked against a limit before memory is taken, and a damaged or cut
//! archive gives one error that names the entry.

use std::io::{self, Read};

use super::pax::{self, Records, XATTR_PREFIX};
use super::sparse::{Run, SparseMap};
use super::{BLOCK, Entry, EntryKind, ExtendedAttributes, MODE_BITS, ModificationTime, number, padding};
use crate::error::{Result, StoreError, shown};

/// Bounds on what one entry's headers may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Longest path and link target, in bytes.
    pub path: usize,
    /// Bytes of all extended attributes of an entry, names and values.
    pub xattrs: usize,
    /// Bytes of one PAX header.
    pub records: usize,
}

impl ReadLimits {
    /// Linux takes no longer path (`PATH_MAX` less the closing NUL).
    pub const PATH: usize = 4095;
    /// Linux keeps at most 64 KiB in one attribute, and images carry a handful of short ones.
    pub const XATTRS: usize = 256 * 1024;
    /// Paths, attributes and a sparse map with room to spare.
    pub const RECORDS: usize = 1024 * 1024;
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { path: Self::PATH, xattrs: Self::XATTRS, records: Self::RECORDS }
    }
}

/// A reader of tar entries. After [`TarReader::next_entry`] the content of a file is read from the reader itself;
/// what is left unread is skipped.
#[derive(Debug)]
pub struct TarReader<R> {
    source: R,
    limits: ReadLimits,
    global: Records,
    /// Name of the present entry, for errors.
    name: Vec<u8>,
    /// Stored bytes of the present entry that were not read.
    pub(super) left: u64,
    padding: usize,
    sparse: Option<SparseMap>,
    ended: bool,
}

/// Long names that a GNU archive puts before an entry.
#[derive(Default)]
struct LongNames {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    pub fn new(source: R, limits: ReadLimits) -> Self {
        Self {
            source,
            limits,
            global: Records::new(),
            name: Vec::new(),
            left: 0,
            padding: 0,
            sparse: None,
            ended: false,
        }
    }

    /// The source, standing behind what was read.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next entry, or `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut records: Option<Records> = None;
        let mut long = LongNames::default();
        loop {
            self.skip_rest()?;
            let Some(header) = self.read_header()? else {
                if records.is_some() || long.path.is_some() || long.link.is_some() {
                    return Err(self.damaged("it ends after an extended header"));
                }
                return Ok(None);
            };
            let size = self.unsigned(&header[124..136], "size")?;
            match header[156] {
                b'x' => {
                    let text = self.read_text(size, self.limits.records, "bytes in one extended header")?;
                    let mut merged = self.global.clone();
                    pax::decode(&text, &mut merged).map_err(|reason| self.damaged(reason))?;
                    records = Some(merged);
                }
                b'g' => {
                    let text = self.read_text(size, self.limits.records, "bytes in one extended header")?;
                    let mut global = std::mem::take(&mut self.global);
                    let decoded = pax::decode(&text, &mut global);
                    self.global = global;
                    decoded.map_err(|reason| self.damaged(reason))?;
                    // Each header is bounded, but an archive may hold any number of them.
                    let held: usize = self.global.iter().map(|(key, value)| key.len() + value.len()).sum();
                    Self::bounded(held, self.limits.records, "bytes in global extended headers")?;
                }
                b'L' => long.path = Some(self.read_long_name(size)?),
                b'K' => long.link = Some(self.read_long_name(size)?),
                _ => {
                    let records = records.unwrap_or_else(|| self.global.clone());
                    return self.entry(&header, size, &records, long).map(Some);
                }
            }
        }
    }

    fn entry(
        &mut self,
        header: &[u8; BLOCK],
        size: u64,
        records: &Records,
        long: LongNames,
    ) -> Result<Entry> {
        let record = |key: &str| records.get(key.as_bytes());
        let path = match record("GNU.sparse.name").or_else(|| record("path")).cloned().or(long.path) {
            Some(path) => path,
            None => Self::header_path(header),
        };
        self.name.clone_from(&path);
        Self::bounded(path.len(), self.limits.path, "bytes in a path")?;
        let link =
            record("linkpath").cloned().or(long.link).unwrap_or_else(|| text(&header[157..257]).to_vec());
        Self::bounded(link.len(), self.limits.path, "bytes in a link target")?;
        if path.contains(&0) || link.contains(&0) {
            return Err(self.damaged("a name holds a zero byte"));
        }
        let number = |key: &str, what: &'static str, field: &[u8]| match record(key) {
            Some(value) => {
                pax::decimal(value).ok_or_else(|| self.damaged(format!("its {what} is no number")))
            }
            None => self.unsigned(field, what),
        };
        let size = match record("size") {
            Some(value) => pax::decimal(value).ok_or_else(|| self.damaged("its size is no number"))?,
            None => size,
        };
        let identity = |value: u64| {
            u32::try_from(value).map_err(|_| self.damaged("an owner's id or a device number is too large"))
        };
        let uid = identity(number("uid", "user id", &header[108..116])?)?;
        let gid = identity(number("gid", "group id", &header[116..124])?)?;
        let mode = self.unsigned(&header[100..108], "mode")? as u32 & MODE_BITS;
        let modified = match record("mtime") {
            Some(value) => pax::time(value).ok_or_else(|| self.damaged("its time is malformed"))?,
            None => ModificationTime::from_seconds(
                number::parse(&header[136..148]).ok_or_else(|| self.damaged("its time is malformed"))?,
            ),
        };
        let xattrs = self.xattrs(records)?;
        let device = |wanted: std::ops::Range<usize>, key: &str| {
            identity(number(key, "device number", &header[wanted])?)
        };
        let kind = match header[156] {
            b'0' | 0 | b'7' | b'S' if header[156] == 0 && path.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' | b'S' => EntryKind::File { size },
            b'1' => EntryKind::Hardlink { target: link },
            b'2' => EntryKind::Symlink { target: link },
            b'3' | b'4' => {
                let major = device(329..337, "SCHILY.devmajor")?;
                let minor = device(337..345, "SCHILY.devminor")?;
                if header[156] == b'3' {
                    EntryKind::CharacterDevice { major, minor }
                } else {
                    EntryKind::BlockDevice { major, minor }
                }
            }
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                return Err(self.damaged(format!("its type {:?} is unknown", char::from(other))));
            }
        };
        let kind = match kind {
            EntryKind::File { size } => {
                self.left = size;
                self.padding = padding(size);
                self.sparse = self.sparse_map(header, size, records)?;
                EntryKind::File { size: self.sparse.as_ref().map_or(size, |map| map.size) }
            }
            // POSIX lets other types state a size, but no content follows.
            other => other,
        };
        Ok(Entry { path, kind, mode, uid, gid, modified, xattrs })
    }

    fn header_path(header: &[u8; BLOCK]) -> Vec<u8> {
        let name = text(&header[0..100]);
        let prefix = text(&header[345..500]);
        // GNU's own format keeps other things where ustar has the prefix.
        if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
            return [prefix, b"/", name].concat();
        }
        name.to_vec()
    }

    fn xattrs(&self, records: &Records) -> Result<ExtendedAttributes> {
        let mut total = 0;
        let mut xattrs = ExtendedAttributes::new();
        for (key, value) in records {
            if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                total += name.len() + value.len();
                Self::bounded(total, self.limits.xattrs, "bytes in extended attributes")?;
                xattrs.push((name.to_vec(), value.clone()));
            }
        }
        Ok(xattrs)
    }

    fn read_long_name(&mut self, size: u64) -> Result<Vec<u8>> {
        let name = self.read_text(size, self.limits.path + 1, "bytes in a path")?;
        Ok(text(&name).to_vec())
    }

    fn read_text(&mut self, size: u64, limit: usize, what: &'static str) -> Result<Vec<u8>> {
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        Self::bounded(length, limit, what)?;
        let mut bytes = vec![0; length];
        self.read_exactly(&mut bytes)?;
        self.padding = padding(size);
        Ok(bytes)
    }

    /// A header whose checksum holds; `None` at the end: a block of zeros, or no more bytes.
    fn read_header(&mut self) -> Result<Option<[u8; BLOCK]>> {
        if self.ended {
            return Ok(None);
        }
        let mut header = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read_source(&mut header[filled..])? {
                0 if filled == 0 => {
                    self.ended = true;
                    return Ok(None);
                }
                0 => return Err(self.damaged("it is cut inside a header")),
                count => filled += count,
            }
        }
        if header.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let stated =
            number::parse(&header[148..156]).ok_or_else(|| self.damaged("a checksum is malformed"))?;
        let sum = |value: fn(u8) -> i64| -> i64 {
            let around = header[..148].iter().chain(&header[156..]);
            around.map(|byte| value(*byte)).sum::<i64>() + 8 * i64::from(b' ')
        };
        // Some historic tools summed signed bytes.
        if stated != sum(i64::from) && stated != sum(|byte| i64::from(byte.cast_signed())) {
            return Err(self.damaged("a header's checksum is wrong, or this is no tar archive"));
        }
        Ok(Some(header))
    }

    fn skip_rest(&mut self) -> Result<()> {
        let mut scratch = [0; 16 * BLOCK];
        let mut left = self.left + self.padding as u64;
        while left > 0 {
            let wanted = scratch.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = self.read_source(&mut scratch[..wanted])?;
            if count == 0 {
                return Err(self.damaged("it is cut inside a file"));
            }
            left -= count as u64;
        }
        self.left = 0;
        self.padding = 0;
        self.sparse = None;
        Ok(())
    }

    pub(super) fn read_exactly(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_source(&mut buffer[filled..])? {
                0 => return Err(self.damaged("it is cut inside an extended header")),
                count => filled += count,
            }
        }
        Ok(())
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.source.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => return Ok(count),
                Err(error) => return Err(self.damaged(error.to_string())),
            }
        }
    }

    pub(super) fn unsigned(&self, field: &[u8], what: &str) -> Result<u64> {
        number::parse(field)
            .and_then(|value| u64::try_from(value).ok())
            .ok_or_else(|| self.damaged(format!("its {what} is malformed")))
    }

    pub(super) fn bounded(value: usize, limit: usize, what: &'static str) -> Result<()> {
        if value > limit {
            return Err(StoreError::Limit { what, limit: limit as u64 });
        }
        Ok(())
    }

    pub(super) fn damaged(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Archive { entry: shown(&self.name), reason: reason.into() }
    }
}

/// The content of the present entry; holes read as zeros. A cut archive is an error, never a short file.
impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = match self.sparse.as_mut().map(SparseMap::next_run) {
            Some(Run::End) => 0,
            Some(Run::Hole(length)) => {
                let count = buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
                buffer[..count].fill(0);
                self.sparse.iter_mut().for_each(|map| map.advance(count as u64));
                return Ok(count);
            }
            Some(Run::Data(length)) => length.min(self.left),
            None => self.left,
        };
        let wanted = buffer.len().min(usize::try_from(available).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut inside a file"));
        }
        self.left -= count as u64;
        self.sparse.iter_mut().for_each(|map| map.advance(count as u64));
        Ok(count)
    }
}

/// A field up to its first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}
