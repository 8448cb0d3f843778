//! COPY and ADD: files of a build context, of another stage, or given literally, put into an upper directory with
//! Docker's rules.
//!
//! - The source path's own links are followed inside its tree; links met inside a copied directory stay links.
//! - A directory's content is copied, not the directory. Directories made for it are 0755 or of the octal mode that is
//!   asked for, existing ones keep their looks, directories inside take the source's.
//! - Nothing is made where no source is.
//! - A destination that ends in a slash, or is a directory, takes a file under its own name.
//! - Links at the destination are followed inside the image.
//! - Times, extended attributes, and links between the files of one source are
//!   kept; sockets are not copied.

mod mode;
mod select;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::io::Read;

pub use mode::ModeChange;
pub use select::{Selection, expand_wildcards, matches_pattern, select_all};

use crate::compression::{ArchiveFormat, Decompressor, ExpansionLimits};
use crate::error::{Result, StoreError, shown};
use crate::layer::{UnpackOptions, Whiteouts, unpack};
use crate::tar::{Entry, EntryKind, ModificationTime, ReadLimits, TarReader};
use crate::tree::{CAPABILITY, FileKind, NewDirectory, Node, Tree, TreePath, WritableTree, parts};

/// Mode of a file whose content stands in the Dockerfile.
const LITERAL_MODE: u32 = 0o644;
/// Mode of a directory that is made on the way.
const DIRECTORY_MODE: u32 = 0o755;

/// What is copied.
#[derive(Debug, Clone, Copy)]
pub enum CopySource<'a> {
    /// A path in a tree, wildcards already expanded. Absolute and relative mean the same; `..` stops at the root.
    Path { tree: &'a Tree, path: &'a [u8] },
    /// A file of this name and content.
    Literal { name: &'a [u8], content: &'a [u8] },
}

/// Decides by path in the source tree, and whether it is a directory, what is copied: the ignore file's rules.
pub type Select<'a> = &'a dyn Fn(&TreePath, bool) -> Selection;

/// One COPY or ADD.
#[derive(Clone, Copy)]
pub struct CopyRequest<'a> {
    /// Absolute path in the image; a slash at its end says that it is a directory.
    pub destination: &'a [u8],
    /// User and group id of everything that is made; `None` keeps the sources'.
    pub owner: Option<(u32, u32)>,
    pub mode: Option<&'a ModeChange>,
    /// Whether files keep their capabilities. Those of a build context do not, as in BuildKit: nobody sees them in a
    /// checkout, and they would make what a file may do in the image depend on the machine that builds it.
    pub keep_capabilities: bool,
    /// Time of directories that are made on the way and of literal files.
    pub created: ModificationTime,
    pub select: Select<'a>,
    /// ADD: archives are unpacked, with these limits.
    pub unpack: Option<(&'a UnpackOptions, ExpansionLimits)>,
}

impl std::fmt::Debug for CopyRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyRequest")
            .field("destination", &shown(self.destination))
            .field("owner", &self.owner)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyReport {
    pub files: u64,
    /// Bytes of file content.
    pub size: u64,
    pub skipped_sockets: u64,
}

/// Copies sources into the tree, in their order.
///
/// # Errors
/// [`StoreError::SourceNotFound`] for a source that is not there or not selected; [`StoreError::Destination`] if the
/// destination cannot hold it. After an error the upper layer holds a part: throw it away.
pub fn copy(
    target: &mut WritableTree,
    sources: &[CopySource<'_>],
    request: &CopyRequest<'_>,
) -> Result<CopyReport> {
    let mut copier = Copier {
        target,
        request,
        links: HashMap::new(),
        report: CopyReport::default(),
        files_to_one_name: 0,
        into_directory: false,
    };
    copier.into_directory =
        matches!(request.destination.rsplit(|byte| *byte == b'/').next(), Some(b"" | b"."));
    let destination = copier.target.tree().resolve(request.destination, true)?.path;
    for source in sources {
        copier.links.clear();
        match source {
            CopySource::Literal { name, content } => copier.literal(&destination, name, content)?,
            CopySource::Path { tree, path } => copier.path(&destination, tree, path)?,
        }
    }
    Ok(copier.report)
}

struct Copier<'a, 'b> {
    target: &'a mut WritableTree,
    request: &'a CopyRequest<'b>,
    /// Where the first name of a file with several was copied to, by source.
    links: HashMap<(u64, u64), TreePath>,
    report: CopyReport,
    /// Files that were put at the destination itself rather than into it.
    files_to_one_name: usize,
    /// The destination was written as a directory.
    into_directory: bool,
}

impl Copier<'_, '_> {
    fn path(&mut self, destination: &TreePath, tree: &Tree, path: &[u8]) -> Result<()> {
        let missing = || StoreError::SourceNotFound { path: shown(path) };
        let node = tree.resolve(path, true)?.node.ok_or_else(missing)?;
        let is_directory = node.metadata.is_directory();
        if !node.path.is_root() && (self.request.select)(&node.path, is_directory) == Selection::Exclude {
            return Err(missing());
        }
        if is_directory {
            self.make(destination)?;
            let directory = Destination::Made(destination.clone());
            return self.content(tree, &node, &directory).map(drop);
        }
        if let Some((options, expansion)) = self.request.unpack
            && node.metadata.kind == FileKind::File
            && is_archive(tree, &node, expansion)?
        {
            return self.archive(destination, tree, &node, options, expansion);
        }
        let name = parts(path).filter(|part| *part != b"..").last().ok_or_else(missing)?;
        let (parent, name) = self.place(destination, name)?;
        self.file(tree, &node, &parent, &name)
    }

    fn literal(&mut self, destination: &TreePath, name: &[u8], content: &[u8]) -> Result<()> {
        let (parent, name) = self.place(destination, name)?;
        let (uid, gid) = self.request.owner.unwrap_or_default();
        let entry = Entry {
            path: parent.path.join(&name).as_bytes().to_vec(),
            kind: EntryKind::File { size: content.len() as u64 },
            mode: self.request.mode.map_or(LITERAL_MODE, |change| change.apply(LITERAL_MODE, false)),
            uid,
            gid,
            modified: self.request.created,
            xattrs: Vec::new(),
        };
        self.refuse_directory(&parent, &name)?;
        self.report.files += 1;
        self.report.size += content.len() as u64;
        self.target.put(&parent, &name, &entry, &mut { content })
    }

    /// Where a file of this name goes: into the destination if that is a directory, else in its place.
    fn place(&mut self, destination: &TreePath, name: &[u8]) -> Result<(Node, Vec<u8>)> {
        let there = self.target.tree().lookup(destination)?;
        if self.into_directory || there.is_some_and(|node| node.metadata.is_directory()) {
            return Ok((self.make(destination)?, name.to_vec()));
        }
        self.files_to_one_name += 1;
        if self.files_to_one_name > 1 {
            return Err(StoreError::Destination {
                path: destination.to_string(),
                reason: "several files are copied, so it must be a directory and end in a slash",
            });
        }
        let parts = destination.parent().zip(destination.name());
        let (parent, name) = parts.expect("the root is a directory");
        Ok((self.make(&parent)?, name.to_vec()))
    }

    /// A directory at the destination, made if it is missing. An octal mode counts for it as well, as in BuildKit.
    fn make(&mut self, path: &TreePath) -> Result<Node> {
        let mode = self.request.mode.and_then(ModeChange::permissions).unwrap_or(DIRECTORY_MODE);
        self.make_with_mode(path, mode)
    }

    fn make_with_mode(&mut self, path: &TreePath, mode: u32) -> Result<Node> {
        let (uid, gid) = self.request.owner.unwrap_or_default();
        let new = NewDirectory { mode, uid, gid, modified: self.request.created };
        self.target.directory(path, &new)
    }

    /// Copies what is in a directory; whether anything was.
    fn content(&mut self, tree: &Tree, directory: &Node, destination: &Destination<'_>) -> Result<bool> {
        let mut copied_any = false;
        for node in tree.children(directory)? {
            let name = node.path.name().expect("a child has a name").to_vec();
            if node.metadata.is_directory() {
                let inner = Destination::Wanted {
                    parent: destination,
                    name: &name,
                    tree,
                    source: &node,
                    made: OnceCell::new(),
                };
                match (self.request.select)(&node.path, true) {
                    Selection::Exclude => {}
                    Selection::Include => {
                        inner.node(self)?;
                        self.content(tree, &node, &inner)?;
                        copied_any = true;
                    }
                    Selection::ExcludeButLookInside => copied_any |= self.content(tree, &node, &inner)?,
                }
            } else if (self.request.select)(&node.path, false) == Selection::Include {
                let parent = destination.node(self)?;
                self.file(tree, &node, &parent, &name)?;
                copied_any = true;
            }
        }
        Ok(copied_any)
    }

    fn file(&mut self, tree: &Tree, node: &Node, parent: &Node, name: &[u8]) -> Result<()> {
        let Some(mut entry) = tree.entry(node)? else {
            self.report.skipped_sockets += 1;
            return Ok(());
        };
        self.refuse_directory(parent, name)?;
        self.dress(&mut entry);
        self.report.files += 1;
        let path = parent.path.join(name);
        if node.metadata.links > 1 {
            if let Some(first) = self.links.get(&node.metadata.identity) {
                return self.target.put_link(parent, name, &first.clone());
            }
            self.links.insert(node.metadata.identity, path);
        }
        if let EntryKind::File { size } = entry.kind {
            self.report.size += size;
            return self.target.put(parent, name, &entry, &mut tree.open_file(node)?);
        }
        self.target.put(parent, name, &entry, &mut std::io::empty())
    }

    fn refuse_directory(&self, parent: &Node, name: &[u8]) -> Result<()> {
        let there = self.target.tree().child(parent, name)?;
        if there.is_some_and(|node| node.metadata.is_directory()) {
            return Err(StoreError::Destination {
                path: parent.path.join(name).to_string(),
                reason: "it is a directory, and a file would replace it",
            });
        }
        Ok(())
    }

    /// Owner, mode and capabilities as the request has them. Links have no mode.
    fn dress(&self, entry: &mut Entry) {
        if !self.request.keep_capabilities {
            entry.xattrs.retain(|(name, _)| name != CAPABILITY);
        }
        if let Some((uid, gid)) = self.request.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        if let Some(change) = self.request.mode
            && !matches!(entry.kind, EntryKind::Symlink { .. })
        {
            entry.mode = change.apply(entry.mode, entry.kind == EntryKind::Directory);
        }
    }

    fn archive(
        &mut self,
        destination: &TreePath,
        tree: &Tree,
        node: &Node,
        options: &UnpackOptions,
        expansion: ExpansionLimits,
    ) -> Result<()> {
        // What the archive holds has modes of its own, which no --chmod changes.
        self.make_with_mode(destination, DIRECTORY_MODE)?;
        let archive = Decompressor::new(tree.open_file(node)?, expansion);
        let archive = archive.map_err(|error| StoreError::Archive {
            entry: node.path.to_string(),
            reason: error.to_string(),
        })?;
        let options = UnpackOptions { whiteouts: Whiteouts::Literal, owner: self.request.owner, ..*options };
        let report = unpack(archive, self.target, destination, &options)?;
        self.report.files += report.entries;
        self.report.size += report.size;
        Ok(())
    }
}

/// A directory at the destination that is made when the first file needs it.
enum Destination<'a> {
    Made(TreePath),
    Wanted {
        parent: &'a Destination<'a>,
        name: &'a [u8],
        tree: &'a Tree,
        source: &'a Node,
        made: OnceCell<Node>,
    },
}

impl Destination<'_> {
    fn path(&self) -> TreePath {
        match self {
            Self::Made(path) => path.clone(),
            Self::Wanted { parent, name, .. } => parent.path().join(name),
        }
    }

    /// The directory itself; the first call gives it the source's metadata.
    fn node(&self, copier: &mut Copier<'_, '_>) -> Result<Node> {
        let Self::Wanted { parent, name, tree, source, made } = self else {
            return copier.make(&self.path());
        };
        if let Some(node) = made.get() {
            return Ok(node.clone());
        }
        let parent = parent.node(copier)?;
        let there = copier.target.tree().child(&parent, name)?;
        if there.is_some_and(|node| !node.metadata.is_directory()) {
            return Err(StoreError::Destination {
                path: self.path().to_string(),
                reason: "it is no directory, and a directory would replace it",
            });
        }
        let mut entry = tree.entry(source)?.expect("a directory is no socket");
        copier.dress(&mut entry);
        let node = copier.target.put_directory(&parent, name, &entry)?;
        Ok(made.get_or_init(|| node).clone())
    }
}

/// Whether a file is an archive that ADD unpacks: its first entry can be read, compressed or not.
fn is_archive(tree: &Tree, node: &Node, expansion: ExpansionLimits) -> Result<bool> {
    let mut file = tree.open_file(node)?;
    let mut start = Vec::new();
    let read = Read::take(&mut file, PLAIN_PROBE).read_to_end(&mut start);
    let is_plain = ArchiveFormat::detect(&start) == ArchiveFormat::Plain;
    if read.is_err() || (is_plain && (start.len() as u64) < PLAIN_PROBE) {
        return Ok(false);
    }
    let Ok(archive) = Decompressor::new(std::io::Cursor::new(start).chain(file), expansion) else {
        return Ok(false);
    };
    Ok(matches!(TarReader::new(archive, ReadLimits::default()).next_entry(), Ok(Some(_))))
}

/// A plain archive begins with a whole header, whose checksum the reader looks at.
const PLAIN_PROBE: u64 = 512;
