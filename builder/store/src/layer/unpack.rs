//! Unpacks an archive into a tree. No entry lands outside: names are refused before anything is touched, links on the
//! way are followed inside the tree only, and every file is made relative to an open directory.

use std::collections::HashMap;
use std::io::{self, Read};

use rustix::io::Errno;

use super::{OPAQUE_WHITEOUT, WHITEOUT_PREFIX};
use crate::error::{Result, StoreError, shown};
use crate::tar::{Entry, EntryKind, ModificationTime, ReadLimits, TarReader};
use crate::tree::{MAX_DEPTH, NewDirectory, Node, PathError, TreePath, WritableTree};

/// Bounds on one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackLimits {
    pub headers: ReadLimits,
    /// Bytes of all files, holes included.
    pub total_size: u64,
    pub entries: u64,
    /// Parts of a path.
    pub depth: usize,
}

impl UnpackLimits {
    /// Larger than any image seen in practice.
    pub const TOTAL_SIZE: u64 = 1 << 40;
    /// A monorepo with all its packages has some millions of files.
    pub const ENTRIES: u64 = 20_000_000;
    /// What the rest of the store can walk.
    pub const DEPTH: usize = MAX_DEPTH;
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            headers: ReadLimits::default(),
            total_size: Self::TOTAL_SIZE,
            entries: Self::ENTRIES,
            depth: Self::DEPTH,
        }
    }
}

/// What an absolute name in an archive means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AbsoluteNames {
    /// An attempt to escape.
    #[default]
    Refuse,
    /// The same name from the tree's root.
    FromRoot,
}

/// What to do with device files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DevicePolicy {
    /// Make them; being forbidden to is an error.
    #[default]
    Make,
    /// Make them; where the system forbids it (in a user namespace) leave them out and report them.
    SkipForbidden,
}

/// What names that begin with `.wh.` mean.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// Removals, as in a layer: they become overlay's whiteouts.
    #[default]
    Overlay,
    /// Nothing special, as in an archive that ADD unpacks.
    Literal,
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    pub limits: UnpackLimits,
    pub absolute_names: AbsoluteNames,
    pub devices: DevicePolicy,
    pub whiteouts: Whiteouts,
    /// User and group id for every entry instead of the archive's. Directories that no entry names stay root's.
    pub owner: Option<(u32, u32)>,
}

/// What was unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnpackReport {
    pub entries: u64,
    /// Bytes of all files.
    pub size: u64,
    /// Device files that the system forbids to make.
    pub skipped_devices: Vec<TreePath>,
}

/// Unpacks the tar archive `archive` under the directory `base` of `target`. Directories that the archive does not name
/// but needs are taken from the layers below, or made for root with mode 0755.
///
/// The archive is read to its end, padding included, so that a digest of it is a digest of all. After an error the
/// upper layer holds a part of the archive: throw it away.
pub fn unpack<R: Read>(
    archive: R,
    target: &mut WritableTree,
    base: &TreePath,
    options: &UnpackOptions,
) -> Result<UnpackReport> {
    let mut unpacker =
        Unpacker { target, base, options, parents: HashMap::new(), report: UnpackReport::default() };
    let mut reader = TarReader::new(archive, options.limits.headers);
    while let Some(entry) = reader.next_entry()? {
        unpacker.count(&entry)?;
        unpacker.entry(entry, &mut reader)?;
    }
    let drained = io::copy(&mut reader.into_inner(), &mut io::sink());
    drained.map_err(|error| StoreError::Archive {
        entry: "the end of the archive".to_owned(),
        reason: error.to_string(),
    })?;
    Ok(unpacker.report)
}

/// Parents that are remembered as the archive writes them, so that links on the way are followed once per directory.
const REMEMBERED_PARENTS: usize = 4096;

struct Unpacker<'a> {
    target: &'a mut WritableTree,
    base: &'a TreePath,
    options: &'a UnpackOptions,
    parents: HashMap<TreePath, TreePath>,
    report: UnpackReport,
}

impl Unpacker<'_> {
    fn count(&mut self, entry: &Entry) -> Result<()> {
        let limits = &self.options.limits;
        self.report.entries += 1;
        if let EntryKind::File { size } = entry.kind {
            self.report.size = self.report.size.saturating_add(size);
        }
        if self.report.entries > limits.entries {
            return Err(StoreError::Limit { what: "the number of entries", limit: limits.entries });
        }
        if self.report.size > limits.total_size {
            return Err(StoreError::Limit { what: "the size of all files", limit: limits.total_size });
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, mut entry: Entry, content: &mut TarReader<R>) -> Result<()> {
        let path = self.path(&entry, &entry.path)?;
        let depth = self.options.limits.depth;
        if path.components().count() > depth {
            return Err(StoreError::Limit { what: "the depth of a path", limit: depth as u64 });
        }
        if let Some((uid, gid)) = self.options.owner {
            (entry.uid, entry.gid) = (uid, gid);
        }
        let Some((parent, name)) = path.parent().zip(path.name()) else {
            return self.root(&entry);
        };
        let parent = self.parent(&entry, &parent)?;
        if self.options.whiteouts == Whiteouts::Overlay {
            if name == OPAQUE_WHITEOUT {
                return self.target.put_opaque(&parent.path);
            }
            if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) {
                return self.whiteout(&entry, &parent, hidden);
            }
        }
        match &entry.kind {
            EntryKind::Hardlink { target } => {
                let target = self.path(&entry, target)?;
                let Some((directory, file)) = target.parent().zip(target.name()) else {
                    return Err(escape(&entry, "it is a hard link to the root"));
                };
                let directory = self.resolve(&entry, &directory)?;
                self.forget(&entry);
                self.target.put_link(&parent, name, &directory.join(file))?;
                // In a layer the file has been described; tar as users call it writes the looks at each name, and the
                // last ones count.
                if self.options.whiteouts == Whiteouts::Literal {
                    return self.target.dress_file(&parent, name, &entry);
                }
                Ok(())
            }
            EntryKind::CharacterDevice { major: 0, minor: 0 } => Err(StoreError::Unrepresentable {
                path: shown(&entry.path),
                reason: "a character device 0:0 means a removal",
            }),
            EntryKind::CharacterDevice { .. } | EntryKind::BlockDevice { .. } => {
                match self.target.put(&parent, name, &entry, content) {
                    Err(error) if self.may_skip(&error) => {
                        self.report.skipped_devices.push(path);
                        Ok(())
                    }
                    result => result,
                }
            }
            _ => {
                if entry.kind != EntryKind::Directory {
                    self.forget(&entry);
                }
                self.target.put(&parent, name, &entry, content).map_err(|error| cut(&entry, error))
            }
        }
    }

    /// A name or link target of the archive as a path in the tree.
    fn path(&self, entry: &Entry, name: &[u8]) -> Result<TreePath> {
        let parsed = match self.options.absolute_names {
            AbsoluteNames::Refuse => TreePath::parse(name),
            AbsoluteNames::FromRoot => TreePath::parse_rooted(name),
        };
        parsed.map_err(|error: PathError| escape(entry, error.reason()))
    }

    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Err(escape(entry, "it would replace the root by a file"));
        }
        // ADD never changes the directory it unpacks into.
        if self.base.is_root() && self.options.whiteouts == Whiteouts::Overlay {
            return self.target.put_root(entry);
        }
        Ok(())
    }

    fn whiteout(&mut self, entry: &Entry, parent: &Node, hidden: &[u8]) -> Result<()> {
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(escape(entry, "it is a whiteout of no name"));
        }
        // Tools of old kept notes of their own under names such as ".wh..wh.plnk"; they mean nothing.
        if hidden.starts_with(WHITEOUT_PREFIX) {
            return Ok(());
        }
        self.target.put_whiteout(parent, hidden)
    }

    fn parent(&mut self, entry: &Entry, parent: &TreePath) -> Result<Node> {
        let resolved = self.resolve(entry, parent)?;
        let new = NewDirectory { mode: 0o755, uid: 0, gid: 0, modified: ModificationTime::default() };
        self.target.directory(&resolved, &new).map_err(|error| match error {
            StoreError::Destination { .. } => escape(entry, "something on its way is not a directory"),
            other => other,
        })
    }

    /// Follows links on the way to a directory. They must lead to a directory that is there.
    fn resolve(&mut self, entry: &Entry, directory: &TreePath) -> Result<TreePath> {
        let directory = self.base.append(directory);
        if let Some(resolved) = self.parents.get(&directory) {
            return Ok(resolved.clone());
        }
        let resolved = self.target.tree().resolve(directory.as_bytes(), true)?;
        if resolved.through_link && resolved.above_root {
            return Err(escape(entry, "a symbolic link on its way leads out of the root"));
        }
        let leads_to_directory = resolved.node.as_ref().is_some_and(|node| node.metadata.is_directory());
        if resolved.through_link && !leads_to_directory {
            return Err(escape(entry, "a symbolic link on its way leads to no directory inside"));
        }
        if self.parents.len() >= REMEMBERED_PARENTS {
            self.parents.clear();
        }
        self.parents.insert(directory, resolved.path.clone());
        Ok(resolved.path)
    }

    /// A new file may stand where a remembered directory was, and a new link may lead elsewhere.
    fn forget(&mut self, entry: &Entry) {
        if let Ok(path) = TreePath::parse_rooted(&entry.path) {
            let path = self.base.append(&path);
            if self.parents.contains_key(&path) || matches!(entry.kind, EntryKind::Symlink { .. }) {
                self.parents.clear();
            }
        }
    }

    fn may_skip(&self, error: &StoreError) -> bool {
        let forbidden = [Errno::PERM, Errno::ACCESS].map(Errno::raw_os_error).map(Some);
        self.options.devices == DevicePolicy::SkipForbidden
            && matches!(error, StoreError::Io { source, .. } if forbidden.contains(&source.raw_os_error()))
    }
}

fn escape(entry: &Entry, reason: &'static str) -> StoreError {
    StoreError::Escape { entry: shown(&entry.path), reason }
}

/// An archive that ends inside a file shows as a failed read while the file is written.
fn cut(entry: &Entry, error: StoreError) -> StoreError {
    match error {
        StoreError::Io { source, .. } if source.raw_os_error().is_none() => {
            StoreError::Archive { entry: shown(&entry.path), reason: source.to_string() }
        }
        other => other,
    }
}
