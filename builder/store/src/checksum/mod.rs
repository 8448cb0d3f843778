//! Digests of file content for cache keys: the same for the same files wherever and whenever they were checked out.
//!
//! A file counts with its kind, mode, owner, size, link target, device numbers, extended attributes and bytes, and not
//! with its times. A directory counts with the same and with the names and digests of what is in it. Files that are one
//! file under several names are not the same as copies of it. Every part is preceded by its length, so no two different
//! trees feed the same bytes to the hash.

mod stat_cache;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Read as _;

use registry_types::{Algorithm, Digest, DigestHasher};

pub use stat_cache::StatCache;

use crate::copy::{Select, Selection};
use crate::error::{At as _, Result, StoreError, shown};
use crate::tree::{FileKind, Node, Tree, parts};

/// Bytes of a file that are hashed at once.
const READ_BUFFER: usize = 256 * 1024;

/// What belongs to a digest.
#[derive(Clone, Copy)]
pub struct ChecksumOptions<'a> {
    /// The ignore file's word on each path of the tree.
    pub select: Select<'a>,
    /// Whether user and group ids count. They do not where the copy gives every file another owner anyway, as files of
    /// a build context get.
    pub with_owner: bool,
}

impl std::fmt::Debug for ChecksumOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChecksumOptions").field("with_owner", &self.with_owner).finish_non_exhaustive()
    }
}

/// Digest of the files that the paths of one COPY or ADD select: wildcards already expanded, in their order. A path's
/// own links are followed; the name under which a file is copied counts.
///
/// # Errors
/// [`StoreError::SourceNotFound`] for a path that is not there or not selected.
pub fn checksum(
    tree: &Tree,
    paths: &[Vec<u8>],
    options: &ChecksumOptions<'_>,
    cache: &StatCache,
) -> Result<Digest> {
    let buffer = vec![0; READ_BUFFER];
    let mut checksummer = Checksummer { tree, options, cache, buffer, links: HashMap::new() };
    let mut all = Framed::new(b"selection");
    for path in paths {
        let missing = || StoreError::SourceNotFound { path: shown(path) };
        let node = tree.resolve(path, true)?.node.ok_or_else(missing)?;
        let is_directory = node.metadata.is_directory();
        if !node.path.is_root() && (options.select)(&node.path, is_directory) == Selection::Exclude {
            return Err(missing());
        }
        // Links between sources of one COPY are copied as files of their own.
        checksummer.links.clear();
        // The content of a directory is copied, so its own name does not matter.
        let name = if is_directory { &[][..] } else { parts(path).last().unwrap_or_default() };
        let digest = if is_directory {
            checksummer.directory(&node, true)?.unwrap_or_else(|| Framed::new(b"nothing").finish())
        } else {
            checksummer.file(&node)?
        };
        all.part(name);
        all.part(digest.as_bytes());
    }
    Ok(all.finish())
}

struct Checksummer<'a> {
    tree: &'a Tree,
    options: &'a ChecksumOptions<'a>,
    cache: &'a StatCache,
    buffer: Vec<u8>,
    /// Files of several names in the order of their first one, by device and inode.
    links: HashMap<(u64, u64), u64>,
}

impl Checksummer<'_> {
    /// Digest of a directory and all in it; `None` if it is only there for what is in it and nothing is.
    fn directory(&mut self, directory: &Node, included: bool) -> Result<Option<Digest>> {
        let mut record = self.header(directory, b"directory")?;
        let mut is_empty = true;
        for node in self.tree.children(directory)? {
            let is_directory = node.metadata.is_directory();
            let selection = (self.options.select)(&node.path, is_directory);
            let digest = match selection {
                Selection::Exclude => None,
                _ if is_directory => self.directory(&node, selection == Selection::Include)?,
                Selection::Include if node.metadata.kind != FileKind::Socket => Some(self.file(&node)?),
                _ => None,
            };
            if let Some(digest) = digest {
                record.part(node.path.name().unwrap_or_default());
                record.part(digest.as_bytes());
                is_empty = false;
            }
        }
        Ok((included || !is_empty).then(|| record.finish()))
    }

    fn file(&mut self, node: &Node) -> Result<Digest> {
        let kind: &[u8] = match node.metadata.kind {
            FileKind::File => b"file",
            FileKind::Symlink => b"symlink",
            FileKind::CharacterDevice => b"character device",
            FileKind::BlockDevice => b"block device",
            FileKind::Fifo => b"fifo",
            FileKind::Socket => b"socket",
            FileKind::Directory => b"directory",
        };
        let mut record = self.header(node, kind)?;
        if node.metadata.links > 1 {
            let next = self.links.len() as u64;
            let number = *self.links.entry(node.metadata.identity).or_insert(next);
            // Names outside of what is copied make no difference, so the first name counts as a file's only one.
            if number != next {
                record.part(b"another name");
                record.number(number);
            }
        }
        match node.metadata.kind {
            FileKind::File => record.part(self.content(node)?.as_bytes()),
            FileKind::Symlink => record.part(&self.tree.read_link(node)?),
            _ => {}
        }
        Ok(record.finish())
    }

    fn header(&self, node: &Node, kind: &[u8]) -> Result<Framed> {
        let metadata = &node.metadata;
        let mut record = Framed::new(kind);
        record.number(u64::from(metadata.mode));
        let (uid, gid) = if self.options.with_owner { (metadata.uid, metadata.gid) } else { (0, 0) };
        record.number(u64::from(uid));
        record.number(u64::from(gid));
        // A directory's size is the file system's business.
        record.number(if metadata.kind == FileKind::File { metadata.size } else { 0 });
        record.number(u64::from(metadata.device.0));
        record.number(u64::from(metadata.device.1));
        let xattrs = self.tree.xattrs(node)?;
        record.number(xattrs.len() as u64);
        for (name, value) in &xattrs {
            record.part(name);
            record.part(value);
        }
        Ok(record)
    }

    fn content(&mut self, node: &Node) -> Result<Digest> {
        if let Some(digest) = self.cache.get(&node.metadata) {
            return Ok(digest);
        }
        let mut file = self.tree.open_file(node)?;
        let mut hasher = DigestHasher::new(Algorithm::Sha256);
        loop {
            let count = file.read(&mut self.buffer).at("reading", self.tree.shown(node))?;
            if count == 0 {
                break;
            }
            hasher.update(&self.buffer[..count]);
        }
        let digest = hasher.finish();
        self.cache.insert(&node.metadata, digest);
        Ok(digest)
    }
}

/// A hash over parts, each with its length before it.
struct Framed(DigestHasher);

impl Framed {
    fn new(kind: &[u8]) -> Self {
        let mut framed = Self(DigestHasher::new(Algorithm::Sha256));
        framed.part(kind);
        framed
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn finish(self) -> Digest {
        self.0.finish()
    }
}
