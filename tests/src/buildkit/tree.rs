//! The files of an image: layers laid on each other as the image specification says.
//!
//! Everything a container can see is kept but times: type, mode, owner, link, device, extended attributes,
//! content, and which names are one file.

use std::{collections::BTreeMap, fmt, io::Read};

use anyhow::{Context, Result, bail, ensure};
use registry_types::Digest;
use tar::{Archive, Entry, EntryType};

/// Marks a name as removed from the layers below (image specification, layer.md, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Marks a folder whose content of the layers below is hidden.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Longest text that a report shows whole, in bytes.
const SHOWN: usize = 1024;
/// Prefix of extended attributes in PAX headers.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Directory,
    /// `text` only where it is short enough for a report.
    File {
        size: u64,
        digest: Digest,
        text: Option<String>,
    },
    Symlink {
        target: String,
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

/// A file of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    /// Permission, setuid, setgid and sticky bits.
    pub mode: u32,
    pub user: u64,
    pub group: u64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Node {
    /// What an unpacker makes of a folder that no layer describes.
    fn implied() -> Self {
        Self { kind: Kind::Directory, mode: 0o755, user: 0, group: 0, xattrs: BTreeMap::new() }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:04o} {}:{}", self.kind, self.mode, self.user, self.group)?;
        for (name, value) in &self.xattrs {
            write!(f, " {name}={}", value.escape_ascii())?;
        }
        Ok(())
    }
}

/// All names of an image and the files that they stand for.
#[derive(Debug)]
pub struct Tree {
    /// Paths without leading or trailing slash; the root is the empty one.
    names: BTreeMap<Vec<u8>, usize>,
    /// Files in the order they came; those without a name left stay.
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        Self { names: BTreeMap::from([(Vec::new(), 0)]), nodes: vec![Node::implied()] }
    }
}

impl Tree {
    /// Lays a layer's archive on what is there.
    pub fn apply(&mut self, layer: &[u8]) -> Result<()> {
        // A whiteout is about the layers below only, wherever in the archive it stands.
        self.each(layer, |tree, path, _| {
            let (folder, name) = split(path);
            if name == OPAQUE {
                tree.remove_below(folder);
            } else if let Some(removed) = name.strip_prefix(WHITEOUT) {
                let mut path = folder.to_vec();
                if !folder.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(removed);
                tree.remove(&path);
            }
            Ok(())
        })?;
        self.each(
            layer,
            |tree, path, entry| {
                if split(path).1.starts_with(WHITEOUT) { Ok(()) } else { tree.put(path, entry) }
            },
        )
    }

    fn each(
        &mut self,
        layer: &[u8],
        mut action: impl FnMut(&mut Self, &[u8], &mut Entry<'_, &[u8]>) -> Result<()>,
    ) -> Result<()> {
        for entry in Archive::new(layer).entries()? {
            let mut entry = entry?;
            let path = normal(&entry.path_bytes());
            action(self, &path, &mut entry).with_context(|| format!("entry {}", path.escape_ascii()))?;
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], entry: &mut Entry<'_, &[u8]>) -> Result<()> {
        self.imply_parents(path)?;
        if entry.header().entry_type() == EntryType::Link {
            let target = normal(&entry.link_name_bytes().context("a hard link has no target")?);
            let node = *self.names.get(&target).with_context(|| {
                format!("the hard link's target {} is in no layer", target.escape_ascii())
            })?;
            self.remove(path);
            self.names.insert(path.to_vec(), node);
            return Ok(());
        }
        let node = read_node(entry)?;
        let keeps_content = node.kind == Kind::Directory
            && self.get(path).is_some_and(|before| before.kind == Kind::Directory);
        if !keeps_content {
            self.remove(path);
        }
        self.names.insert(path.to_vec(), self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn imply_parents(&mut self, path: &[u8]) -> Result<()> {
        for end in (0..path.len()).filter(|at| path[*at] == b'/') {
            let parent = &path[..end];
            match self.get(parent) {
                Some(Node { kind: Kind::Directory, .. }) => {}
                Some(other) => bail!("{} is no folder but {other}", parent.escape_ascii()),
                None => {
                    self.names.insert(parent.to_vec(), self.nodes.len());
                    self.nodes.push(Node::implied());
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, path: &[u8]) {
        self.names.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, folder: &[u8]) {
        self.names.retain(|name, _| !is_below(name, folder));
    }

    /// The file of a name.
    pub fn get(&self, path: &[u8]) -> Option<&Node> {
        self.names.get(path).and_then(|node| self.nodes.get(*node))
    }

    /// All paths, in order.
    pub fn paths(&self) -> impl Iterator<Item = &[u8]> {
        self.names.keys().map(Vec::as_slice)
    }

    /// The first of the names that the file of `path` has: equal for names that are one file.
    pub fn first_name(&self, path: &[u8]) -> Option<&[u8]> {
        let node = self.names.get(path)?;
        self.names.iter().find(|(_, other)| *other == node).map(|(name, _)| name.as_slice())
    }
}

fn is_below(name: &[u8], folder: &[u8]) -> bool {
    if folder.is_empty() {
        return !name.is_empty();
    }
    name.strip_prefix(folder).is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// `./a/b/` as `a/b`.
fn normal(path: &[u8]) -> Vec<u8> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

/// Folder and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

fn read_node(entry: &mut Entry<'_, &[u8]>) -> Result<Node> {
    let mut xattrs = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            if let Some(name) = extension.key_bytes().strip_prefix(XATTR) {
                xattrs.insert(String::from_utf8_lossy(name).into_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    let header = entry.header();
    let (mode, user, group) = (header.mode()? & 0o7777, header.uid()?, header.gid()?);
    let device = || -> Result<(u32, u32)> {
        let numbers = header.device_major()?.zip(header.device_minor()?);
        numbers.context("a device has numbers")
    };
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let target = entry.link_name_bytes().context("a symbolic link has no target")?;
            Kind::Symlink { target: target.escape_ascii().to_string() }
        }
        EntryType::Char => device().map(|(major, minor)| Kind::CharacterDevice { major, minor })?,
        EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Regular | EntryType::Continuous => {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            ensure!(entry.size() == content.len() as u64, "the archive ends in a file");
            let (size, digest) = (entry.size(), Digest::sha256(&content));
            let text = String::from_utf8(content).ok().filter(|text| text.len() <= SHOWN);
            Kind::File { size, digest, text }
        }
        other => bail!("an entry of type {other:?}"),
    };
    Ok(Node { kind, mode, user, group, xattrs })
}

#[cfg(test)]
pub(super) mod tests;
