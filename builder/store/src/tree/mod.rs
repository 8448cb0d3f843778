//! File trees made of overlay layers, seen and changed without a mount.
//!
//! [`Tree`] shows what an overlay mount of the same directories would show: upper files hide lower ones, directories
//! merge, whiteouts and opaque directories hide. Every path is resolved relative to the layers' own handles, so links
//! lead to places inside the tree or nowhere. [`WritableTree`] changes the uppermost layer.

mod attributes;
mod metadata;
mod path;
mod place;
mod root;
#[cfg(test)]
mod tests;
mod writable;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;

pub use metadata::{FileKind, Metadata};
pub use path::{PathError, TreePath};
pub use writable::{NewDirectory, WritableTree};

pub(crate) use attributes::{Attributes, CAPABILITY, OverlayMarks};
pub(crate) use path::parts;
pub(crate) use place::remove_recursively;
pub(crate) use root::{Root, same_content};

use crate::error::{At as _, Result, StoreError};
use crate::tar::{Entry, EntryKind, ExtendedAttributes};

/// Symbolic links that one path may go through, as Linux has it (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// The merged view of overlay layers, or of a single plain directory.
#[derive(Debug)]
pub struct Tree {
    /// Uppermost first.
    layers: Vec<Root>,
}

/// Most directories inside one another. Trees are walked one call per level, and packages nest a few dozen levels; what
/// goes deeper was made to overrun a stack.
pub(crate) const MAX_DEPTH: usize = 256;

/// Refuses a directory that lies too deep to be walked.
pub(crate) fn check_depth(directory: &TreePath) -> Result<()> {
    if directory.components().count() > MAX_DEPTH {
        return Err(StoreError::Limit { what: "the depth of a directory", limit: MAX_DEPTH as u64 });
    }
    Ok(())
}

/// A file of a [`Tree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub path: TreePath,
    /// Of the uppermost layer that has it.
    pub metadata: Metadata,
    /// Layers that make up a directory, uppermost first; the one that has a file.
    layers: Vec<usize>,
}

/// Where a path leads once every link on its way is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The path without links. Its last parts may not exist.
    pub path: TreePath,
    /// What is there.
    pub node: Option<Node>,
    /// Whether a link was followed.
    pub through_link: bool,
    /// Whether `..` was asked for at the root, where it changes nothing.
    pub above_root: bool,
}

impl Tree {
    /// Opens layer directories, uppermost first.
    pub fn open<P: AsRef<Path>>(layers: &[P]) -> Result<Self> {
        let layers = layers.iter().map(|path| Root::open(path.as_ref())).collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// The root directory.
    pub fn root(&self) -> Result<Node> {
        let path = TreePath::root();
        let mut root: Option<Node> = None;
        for (layer, directory) in self.layers.iter().enumerate() {
            let Some((_, metadata)) = directory.look(&path)? else { continue };
            let node = root.get_or_insert_with(|| Node { path: path.clone(), metadata, layers: Vec::new() });
            node.layers.push(layer);
            if self.is_opaque(layer, &path)? {
                break;
            }
        }
        root.ok_or_else(|| StoreError::SourceNotFound { path: "/".to_owned() })
    }

    /// The file at `path`, links not followed.
    pub fn lookup(&self, path: &TreePath) -> Result<Option<Node>> {
        let mut node = self.root()?;
        for name in path.components() {
            match self.child(&node, name)? {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// The file `name` in a directory; `None` too if `directory` is none.
    pub fn child(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>> {
        if !directory.metadata.is_directory() {
            return Ok(None);
        }
        let path = directory.path.join(name);
        let mut found: Option<Node> = None;
        let mut below = directory.layers.iter().peekable();
        while let Some(&layer) = below.next() {
            let Some((_, metadata)) = self.layers[layer].look(&path)? else { continue };
            if !metadata.is_directory() {
                if found.is_none() && !self.is_whiteout(layer, &path, &metadata)? {
                    return Ok(Some(Node { path, metadata, layers: vec![layer] }));
                }
                break;
            }
            found
                .get_or_insert_with(|| Node { path: path.clone(), metadata, layers: Vec::new() })
                .layers
                .push(layer);
            if below.peek().is_some() && self.is_opaque(layer, &path)? {
                break;
            }
        }
        Ok(found)
    }

    /// The files in a directory, in byte order of their names.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for a directory inside more than 256 others.
    pub fn children(&self, directory: &Node) -> Result<Vec<Node>> {
        check_depth(&directory.path)?;
        let mut names = BTreeSet::new();
        for &layer in &directory.layers {
            names.extend(self.layers[layer].names(&directory.path)?);
        }
        let children = names.iter().map(|name| self.child(directory, name));
        children.filter_map(Result::transpose).collect()
    }

    /// Follows `text` from the root as a process in the tree would: links may be absolute, `..` stops at the root.
    /// The last part is followed only if `follow_last`.
    pub fn resolve(&self, text: &[u8], follow_last: bool) -> Result<Resolved> {
        let mut left: Vec<Vec<u8>> = parts(text).map(<[u8]>::to_vec).collect();
        left.reverse();
        // Directories from the root to the present place, and below it parts that do not exist.
        let mut trail = vec![self.root()?];
        let mut missing: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        let mut above_root = false;
        let mut last_file: Option<Node> = None;
        while let Some(part) = left.pop() {
            if part == b".." {
                if missing.pop().is_none() && last_file.take().is_none() {
                    above_root |= trail.len() == 1;
                    trail.truncate(trail.len().max(2) - 1);
                }
                continue;
            }
            if !missing.is_empty() || last_file.is_some() {
                missing.push(part);
                continue;
            }
            let here = trail.last().expect("the trail keeps the root");
            match self.child(here, &part)? {
                None => missing.push(part),
                Some(node) if node.metadata.is_directory() => trail.push(node),
                Some(node)
                    if node.metadata.kind == FileKind::Symlink && (follow_last || !left.is_empty()) =>
                {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(StoreError::Destination {
                            path: String::from_utf8_lossy(text).into_owned(),
                            reason: "too many symbolic links lead from one to the next",
                        });
                    }
                    let target = self.read_link(&node)?;
                    if target.first() == Some(&b'/') {
                        trail.truncate(1);
                    }
                    let count = left.len();
                    left.extend(parts(&target).map(<[u8]>::to_vec));
                    left[count..].reverse();
                }
                Some(node) => last_file = Some(node),
            }
        }
        let end = last_file.unwrap_or_else(|| trail.pop().expect("the trail keeps the root"));
        let path = missing.iter().fold(end.path.clone(), |path, part| path.join(part));
        let node = missing.is_empty().then_some(end);
        Ok(Resolved { path, node, through_link: links > 0, above_root })
    }

    /// Target of a symbolic link.
    pub fn read_link(&self, node: &Node) -> Result<Vec<u8>> {
        self.layer_of(node).read_link(&node.path)
    }

    /// Opens a regular file for reading.
    pub fn open_file(&self, node: &Node) -> Result<File> {
        Ok(File::from(self.open_to_read(node)?))
    }

    /// Extended attributes that belong into layers. Only files and directories have any.
    pub fn xattrs(&self, node: &Node) -> Result<ExtendedAttributes> {
        match node.metadata.kind {
            FileKind::File | FileKind::Directory => {
                let handle = self.open_to_read(node)?;
                let attributes = Attributes::read(handle.as_fd());
                Ok(attributes.at("reading the attributes of", self.shown(node))?.kept)
            }
            _ => Ok(ExtendedAttributes::new()),
        }
    }

    /// The node as an archive entry; `None` for a socket, which no archive can hold.
    pub fn entry(&self, node: &Node) -> Result<Option<Entry>> {
        let kind = match node.metadata.kind {
            FileKind::File => EntryKind::File { size: node.metadata.size },
            FileKind::Directory => EntryKind::Directory,
            FileKind::Symlink => EntryKind::Symlink { target: self.read_link(node)? },
            FileKind::CharacterDevice => {
                EntryKind::CharacterDevice { major: node.metadata.device.0, minor: node.metadata.device.1 }
            }
            FileKind::BlockDevice => {
                EntryKind::BlockDevice { major: node.metadata.device.0, minor: node.metadata.device.1 }
            }
            FileKind::Fifo => EntryKind::Fifo,
            FileKind::Socket => return Ok(None),
        };
        Ok(Some(Entry {
            path: node.path.as_bytes().to_vec(),
            kind,
            mode: node.metadata.mode,
            uid: node.metadata.uid,
            gid: node.metadata.gid,
            modified: node.metadata.modified,
            xattrs: self.xattrs(node)?,
        }))
    }

    /// Where the file lies on disk, for messages.
    pub(crate) fn shown(&self, node: &Node) -> std::path::PathBuf {
        self.layer_of(node).shown(&node.path)
    }

    pub(crate) fn open_to_read(&self, node: &Node) -> Result<OwnedFd> {
        self.layer_of(node).open_to_read(&node.path)
    }

    fn layer_of(&self, node: &Node) -> &Root {
        let layer = node.layers.first().expect("a node lies in a layer");
        &self.layers[*layer]
    }

    fn is_opaque(&self, layer: usize, path: &TreePath) -> Result<bool> {
        Ok(self.marks(layer, path)?.is_some_and(|marks| marks.opaque))
    }

    fn is_whiteout(&self, layer: usize, path: &TreePath, metadata: &Metadata) -> Result<bool> {
        if metadata.is_whiteout_device() {
            return Ok(true);
        }
        let may_be = metadata.kind == FileKind::File && metadata.size == 0;
        Ok(may_be && self.marks(layer, path)?.is_some_and(|marks| marks.whiteout))
    }

    fn marks(&self, layer: usize, path: &TreePath) -> Result<Option<OverlayMarks>> {
        let root = &self.layers[layer];
        let Some(handle) = root.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?
        else {
            return Ok(None);
        };
        let attributes =
            Attributes::read(handle.as_fd()).at("reading the attributes of", root.shown(path))?;
        Ok(Some(attributes.marks))
    }
}

impl Node {
    /// Whether the uppermost layer has a part in it.
    pub(crate) fn is_in_upper(&self) -> bool {
        self.layers.first() == Some(&0)
    }
}
