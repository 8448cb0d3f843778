//! A tree whose uppermost layer is changed in place, with what overlay would do on a mount: directories are copied up
//! before something is made in them, and a directory made where one was removed is opaque.
//!
//! Times of directories are set when all is done, and a directory that is only passed through keeps its own time, so
//! that the layer depends on what was put into it and not on when.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::place::{self, Ownership};
use super::root::metadata_at;
use super::{Node, Tree, TreePath, attributes};
use crate::error::{At as _, Result, StoreError, shown};
use crate::tar::{Entry, EntryKind, ModificationTime};

/// Directories whose place in the layers is remembered, so that files of one directory do not walk the path each time.
/// A node is a few hundred bytes.
const REMEMBERED_DIRECTORIES: usize = 8192;

/// How a directory that has to be made on the way looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDirectory {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub modified: ModificationTime,
}

impl NewDirectory {
    fn entry(&self, path: &TreePath) -> Entry {
        Entry {
            path: path.as_bytes().to_vec(),
            kind: EntryKind::Directory,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            modified: self.modified,
            xattrs: Vec::new(),
        }
    }
}

/// An upper directory over lower ones.
#[derive(Debug)]
pub struct WritableTree {
    tree: Tree,
    ownership: Ownership,
    directories: HashMap<TreePath, Node>,
    /// Times to set at the end.
    times: BTreeMap<TreePath, ModificationTime>,
    /// The directory that was last worked in.
    last: Option<(TreePath, OwnedFd)>,
}

impl WritableTree {
    /// Opens an upper directory and the lower ones, uppermost first.
    pub fn open<P: AsRef<Path>>(upper: &Path, lowers: &[P]) -> Result<Self> {
        let layers: Vec<&Path> = std::iter::once(upper).chain(lowers.iter().map(AsRef::as_ref)).collect();
        Ok(Self {
            tree: Tree::open(&layers)?,
            ownership: Ownership::AsStated,
            directories: HashMap::new(),
            times: BTreeMap::new(),
            last: None,
        })
    }

    /// Leaves every file to the caller instead of its stated owner: for an ordinary user without a user namespace.
    pub fn keep_callers_ownership(&mut self) {
        self.ownership = Ownership::Callers;
    }

    /// The tree as it stands now.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The directory at `path`, made with its parents where there is none, and copied up. `path` holds no links:
    /// resolve it first.
    ///
    /// # Errors
    /// [`StoreError::Destination`] if something that is no directory is in the way.
    pub fn directory(&mut self, path: &TreePath, new: &NewDirectory) -> Result<Node> {
        if let Some(node) = self.directories.get(path) {
            return Ok(node.clone());
        }
        let Some((parent, name)) = path.parent().zip(path.name()) else {
            let root = self.tree.root()?;
            self.times.entry(path.clone()).or_insert(root.metadata.modified);
            return Ok(self.remember(root));
        };
        let parent = self.directory(&parent, new)?;
        match self.tree.child(&parent, name)? {
            None => self.make_directory(&parent, name, &new.entry(path)),
            Some(node) if !node.metadata.is_directory() => Err(StoreError::Destination {
                path: path.to_string(),
                reason: "it, or something on its way, is not a directory",
            }),
            Some(node) if node.is_in_upper() => {
                self.times.entry(path.clone()).or_insert(node.metadata.modified);
                Ok(self.remember(node))
            }
            Some(node) => {
                let copied = self.tree.entry(&node)?.expect("a directory is no socket");
                self.make_directory(&parent, name, &copied)
            }
        }
    }

    /// Makes the directory `name` as stated, or gives one that exists the stated metadata. What is no directory is
    /// replaced. `parent` comes from [`WritableTree::directory`].
    pub fn put_directory(&mut self, parent: &Node, name: &[u8], entry: &Entry) -> Result<Node> {
        let path = parent.path.join(name);
        let there = self.tree.child(parent, name)?;
        if !there.is_some_and(|node| node.metadata.is_directory() && node.is_in_upper()) {
            return self.make_directory(parent, name, entry);
        }
        let ownership = self.ownership;
        let handle = self.work_in(parent)?;
        place::open_directory(handle, name)
            .and_then(|handle| place::dress_directory(handle.as_fd(), entry, ownership))
            .at("setting the metadata of", path.as_path())?;
        self.times.insert(path.clone(), entry.modified);
        self.directories.remove(&path);
        self.reread(parent, name)
    }

    /// Sets the metadata of the tree's root.
    pub fn put_root(&mut self, entry: &Entry) -> Result<()> {
        let path = TreePath::root();
        let handle = self.tree.layers[0].open_to_read(&path)?;
        place::dress_directory(handle.as_fd(), entry, self.ownership)
            .at("setting the metadata of", self.tree.layers[0].shown(&path))?;
        self.times.insert(path, entry.modified);
        Ok(())
    }

    /// Makes what `entry` describes as `name`, in place of whatever was there; `content` is read for files only.
    pub fn put(&mut self, parent: &Node, name: &[u8], entry: &Entry, content: &mut dyn Read) -> Result<()> {
        if entry.kind == EntryKind::Directory {
            return self.put_directory(parent, name, entry).map(|_| ());
        }
        self.clear(parent, name)?;
        let ownership = self.ownership;
        let handle = self.work_in(parent)?;
        place::make(handle, name, entry, content, ownership).at("writing", parent.path.join(name).as_path())
    }

    /// Makes `name` another name of the file at `target`, which is copied up if a lower layer has it.
    pub fn put_link(&mut self, parent: &Node, name: &[u8], target: &TreePath) -> Result<()> {
        let missing = || StoreError::Archive {
            entry: parent.path.join(name).to_string(),
            reason: format!("it is a hard link to {target}, which is no file"),
        };
        let node = self.tree.lookup(target)?.ok_or_else(missing)?;
        if node.metadata.is_directory() {
            return Err(missing());
        }
        if parent.path.join(name) == *target {
            return Ok(());
        }
        if !node.is_in_upper() {
            self.copy_up_file(&node)?;
        }
        self.clear(parent, name)?;
        let source = self.tree.layers[0].look(&target.parent().unwrap_or_default())?;
        let (source, _) = source.ok_or_else(missing)?;
        let source_name = target.name().ok_or_else(missing)?.to_vec();
        let handle = self.work_in(parent)?;
        rustix::fs::linkat(&source, source_name.as_slice(), handle, name, AtFlags::empty())
            .at("linking", parent.path.join(name).as_path())
    }

    /// Gives a file of the upper layer the owner, mode and time of `entry`. A symbolic link stays as it is.
    pub fn dress_file(&mut self, parent: &Node, name: &[u8], entry: &Entry) -> Result<()> {
        let ownership = self.ownership;
        let handle = self.work_in(parent)?;
        place::dress_file(handle, name, entry, ownership)
            .at("setting the metadata of", parent.path.join(name).as_path())
    }

    /// Hides `name` of the lower layers. A directory of the upper layer stays, but shows nothing from below; a file
    /// of the upper layer hides it anyway.
    pub fn put_whiteout(&mut self, parent: &Node, name: &[u8]) -> Result<()> {
        let path = parent.path.join(name);
        let handle = self.work_in(parent)?;
        let existing = metadata_at(handle, name).at("reading the metadata of", path.as_path())?;
        match existing {
            None => place::make_whiteout(handle, name).at("hiding", path.as_path())?,
            Some(metadata) if metadata.is_directory() => self.put_opaque(&path)?,
            Some(_) => {}
        }
        Ok(())
    }

    /// Hides everything that lower layers have in a directory of the upper layer.
    pub fn put_opaque(&mut self, path: &TreePath) -> Result<()> {
        let handle = self.tree.layers[0].open_to_read(path)?;
        attributes::mark_opaque(handle.as_fd()).at("marking", path.as_path())?;
        self.forget_below(path);
        Ok(())
    }

    /// Sets the times of directories. Without it they keep the time of the last change.
    pub fn finish(mut self) -> Result<()> {
        for (path, modified) in std::mem::take(&mut self.times).into_iter().rev() {
            // A directory may have been replaced by a file since.
            let Some(handle) = self.tree.layers[0].open_beneath(&path, OFlags::RDONLY | OFlags::DIRECTORY)?
            else {
                continue;
            };
            place::set_time(handle.as_fd(), b".", modified).at("setting the time of", path.as_path())?;
        }
        Ok(())
    }

    fn copy_up_file(&mut self, node: &Node) -> Result<()> {
        let entry = self.tree.entry(node)?.ok_or_else(|| StoreError::Unrepresentable {
            path: node.path.to_string(),
            reason: "it is a socket",
        })?;
        let (parent, name) = node.path.parent().zip(node.path.name()).expect("the root is a directory");
        // Every directory on the way exists, so this one's looks are never used.
        let unused = NewDirectory { mode: 0o755, uid: 0, gid: 0, modified: entry.modified };
        let parent = self.directory(&parent, &unused)?;
        let mut content: Box<dyn Read> = match entry.kind {
            EntryKind::File { .. } => Box::new(self.tree.open_file(node)?),
            _ => Box::new(std::io::empty()),
        };
        self.put(&parent, name, &entry, &mut content)
    }

    fn make_directory(&mut self, parent: &Node, name: &[u8], entry: &Entry) -> Result<Node> {
        let path = parent.path.join(name);
        let was_hidden = self.clear(parent, name)?;
        let ownership = self.ownership;
        let handle = self.work_in(parent)?;
        let made = rustix::fs::mkdirat(handle, name, Mode::RWXU)
            .and_then(|()| place::open_directory(handle, name))
            .and_then(|made| {
                if was_hidden {
                    attributes::mark_opaque(made.as_fd())?;
                }
                place::dress_directory(made.as_fd(), entry, ownership)
            });
        made.at("making the directory", path.as_path())?;
        self.times.insert(path, entry.modified);
        self.reread(parent, name)
    }

    /// Frees a name in the upper layer; `true` if what stood there hid the layers below.
    fn clear(&mut self, parent: &Node, name: &[u8]) -> Result<bool> {
        let path = parent.path.join(name);
        let handle = self.work_in(parent)?;
        let Some(metadata) = metadata_at(handle, name).at("reading the metadata of", path.as_path())? else {
            return Ok(false);
        };
        // What stands in the upper layer and is no directory hides what is below, and so must a directory in its place.
        let removed = place::remove_recursively(handle, name);
        removed.at("removing", path.as_path())?;
        if metadata.is_directory() {
            self.forget_below(&path);
        }
        Ok(!metadata.is_directory())
    }

    fn reread(&mut self, parent: &Node, name: &[u8]) -> Result<Node> {
        let node = self.tree.child(parent, name)?;
        let node = node.ok_or(Errno::NOENT).at("opening", parent.path.join(name).as_path())?;
        Ok(self.remember(node))
    }

    fn remember(&mut self, node: Node) -> Node {
        if self.directories.len() >= REMEMBERED_DIRECTORIES {
            self.directories.clear();
        }
        self.directories.insert(node.path.clone(), node.clone());
        node
    }

    fn forget_below(&mut self, path: &TreePath) {
        let is_below = |other: &TreePath| {
            other
                .as_bytes()
                .strip_prefix(path.as_bytes())
                .is_some_and(|rest| path.is_root() || rest.is_empty() || rest.first() == Some(&b'/'))
        };
        self.directories.retain(|other, _| !is_below(other));
        if self.last.as_ref().is_some_and(|(other, _)| is_below(other)) {
            self.last = None;
        }
    }

    /// A handle on a directory of the upper layer.
    fn work_in(&mut self, directory: &Node) -> Result<BorrowedFd<'_>> {
        let is_last = self.last.as_ref().is_some_and(|(path, _)| *path == directory.path);
        if !is_last {
            let handle =
                self.tree.layers[0].open_beneath(&directory.path, OFlags::PATH | OFlags::DIRECTORY)?;
            let handle = handle.ok_or(Errno::NOENT).at("opening", directory.path.as_path())?;
            self.last = Some((directory.path.clone(), handle));
        }
        match &self.last {
            Some((_, handle)) => Ok(handle.as_fd()),
            None => Err(StoreError::Destination {
                path: shown(directory.path.as_bytes()),
                reason: "it is not in the upper layer",
            }),
        }
    }
}
