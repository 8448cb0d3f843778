//! What the tests of several modules share: trees described as values, real overlay mounts, random edits.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rustix::fs::XattrFlags;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use crate::tree::{FileKind, Node, Tree, WritableTree};

/// Whether the test runs as root and may give files any owner.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A writable tree that leaves owners alone where the test may not change them.
pub(crate) fn writable<P: AsRef<Path>>(upper: &Path, lowers: &[P]) -> WritableTree {
    let mut tree = WritableTree::open(upper, lowers).unwrap();
    if !is_root() {
        tree.keep_callers_ownership();
    }
    tree
}

/// Everything about a file that a layer keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    kind: FileKind,
    mode: u32,
    owner: (u32, u32),
    /// Whole seconds.
    modified: i64,
    /// Bytes of a file, target of a link, numbers of a device.
    content: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// First name of the same file.
    first_name: String,
}

impl Described {
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }
    pub(crate) fn owner(&self) -> (u32, u32) {
        self.owner
    }
    pub(crate) fn modified(&self) -> i64 {
        self.modified
    }
    pub(crate) fn first_name(&self) -> &str {
        &self.first_name
    }
    pub(crate) fn xattrs(&self) -> &[(Vec<u8>, Vec<u8>)] {
        &self.xattrs
    }
}

/// All files of a tree but its root, by path.
pub(crate) fn describe(tree: &Tree) -> BTreeMap<String, Described> {
    let mut files = BTreeMap::new();
    let mut names = HashMap::new();
    let mut waiting = vec![tree.root().unwrap()];
    let mut nodes = Vec::new();
    while let Some(directory) = waiting.pop() {
        for child in tree.children(&directory).unwrap() {
            if child.metadata.is_directory() {
                waiting.push(child.clone());
            }
            nodes.push(child);
        }
    }
    nodes.sort_by(|one, other| one.path.cmp(&other.path));
    for node in nodes {
        let path = node.path.to_string();
        let first = if node.metadata.is_directory() {
            path.clone()
        } else {
            names.entry(node.metadata.identity).or_insert_with(|| path.clone()).clone()
        };
        files.insert(path, described(tree, &node, first));
    }
    files
}

fn described(tree: &Tree, node: &Node, first_name: String) -> Described {
    let content = match node.metadata.kind {
        FileKind::File => {
            let mut content = Vec::new();
            tree.open_file(node).unwrap().read_to_end(&mut content).unwrap();
            content
        }
        FileKind::Symlink => tree.read_link(node).unwrap(),
        _ => format!("{:?}", node.metadata.device).into_bytes(),
    };
    Described {
        kind: node.metadata.kind,
        mode: node.metadata.mode,
        owner: (node.metadata.uid, node.metadata.gid),
        modified: node.metadata.modified.seconds,
        content,
        xattrs: tree.xattrs(node).unwrap(),
        first_name,
    }
}

/// As [`describe`], for one plain directory.
pub(crate) fn describe_directory(path: &Path) -> BTreeMap<String, Described> {
    describe(&Tree::open(&[path]).unwrap())
}

/// Forgets which names share a file: overlay breaks links of lower layers, but shows one inode number for them.
pub(crate) fn without_links(mut files: BTreeMap<String, Described>) -> BTreeMap<String, Described> {
    for file in files.values_mut() {
        file.first_name.clear();
    }
    files
}

/// Forgets the times of directories, which alone make no entry of a layer.
pub(crate) fn without_directory_times(mut files: BTreeMap<String, Described>) -> BTreeMap<String, Described> {
    for file in files.values_mut().filter(|file| file.kind == FileKind::Directory) {
        file.modified = 0;
    }
    files
}

/// An overlay mount that is in no one's way: it hangs nowhere and ends when dropped.
#[derive(Debug)]
pub(crate) struct Mounted(OwnedFd);

impl Mounted {
    /// `None`, said aloud, where mounting is not allowed.
    pub(crate) fn new(lower: &[&Path], upper: &Path, work: &Path) -> Option<Self> {
        let attempt = || {
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            let lower: Vec<_> = lower.iter().map(|path| path.to_str().unwrap()).collect();
            fsconfig_set_string(&context, "lowerdir", lower.join(":"))?;
            fsconfig_set_string(&context, "upperdir", upper)?;
            fsconfig_set_string(&context, "workdir", work)?;
            fsconfig_set_string(&context, "redirect_dir", "nofollow")?;
            fsconfig_set_string(&context, "index", "off")?;
            fsconfig_set_string(&context, "metacopy", "off")?;
            rustix::mount::fsconfig_set_flag(&context, "userxattr")?;
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        };
        match attempt() {
            Ok(mount) => Some(Self(mount)),
            Err(error) => {
                eprintln!("skipped: this test mounts overlay, which is refused here: {error}");
                None
            }
        }
    }

    /// A file system in memory of so many bytes.
    pub(crate) fn small_disk(size: u64) -> Option<Self> {
        let attempt = || {
            let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&context, "size", size.to_string())?;
            fsconfig_create(&context)?;
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        };
        match attempt() {
            Ok(mount) => Some(Self(mount)),
            Err(error) => {
                eprintln!("skipped: this test mounts a small tmpfs, which is refused here: {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}/", self.0.as_raw_fd()).into()
    }
}

/// One change to a tree.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Write(String, Vec<u8>),
    Directory(String),
    Remove(String),
    Symlink(String, String),
    Link(String, String),
    Rename(String, String),
    Mode(String, u32),
    Owner(String, u32),
    Attribute(String, u8),
    Fifo(String),
    /// Copies a file up without changing it.
    Open(String),
}

/// Paths of up to three parts from few names, so that edits meet.
pub(crate) fn any_path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"))
}

pub(crate) fn any_edit() -> impl Strategy<Value = Edit> {
    let path = any_path;
    prop_oneof![
        3 => (path(), proptest::collection::vec(any::<u8>(), 0..20)).prop_map(|(p, c)| Edit::Write(p, c)),
        3 => path().prop_map(Edit::Directory),
        3 => path().prop_map(Edit::Remove),
        1 => (path(), "[abc/]{1,4}").prop_map(|(p, t)| Edit::Symlink(p, t)),
        2 => (path(), path()).prop_map(|(from, to)| Edit::Link(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Edit::Rename(from, to)),
        1 => (path(), 0_u32..=0o7777).prop_map(|(p, m)| Edit::Mode(p, m | 0o700)),
        1 => (path(), 0_u32..5_000_000).prop_map(|(p, o)| Edit::Owner(p, o)),
        1 => (path(), any::<u8>()).prop_map(|(p, v)| Edit::Attribute(p, v)),
        1 => path().prop_map(Edit::Fifo),
        1 => path().prop_map(Edit::Open),
    ]
}

pub(crate) fn any_edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    proptest::collection::vec(any_edit(), 0..most)
}

/// Applies edits under `root`; one that cannot be done is left out. Links are never followed to outside, since the
/// edits' links are relative and short.
pub(crate) fn apply(root: &Path, edits: &[Edit]) {
    for edit in edits {
        apply_one(root, edit);
    }
}

fn apply_one(root: &Path, edit: &Edit) {
    let at = |path: &str| root.join(path);
    let is_plain = |path: &str| fs::symlink_metadata(at(path)).is_ok_and(|m| m.is_file() || m.is_dir());
    // Only plain parents, so that no edit goes through a link.
    let parent_is_plain = |path: &str| {
        let parts: Vec<_> = path.split('/').collect();
        (1..parts.len()).all(|count| {
            fs::symlink_metadata(at(&parts[..count].join("/"))).is_ok_and(|metadata| metadata.is_dir())
        })
    };
    let _ = match edit {
        Edit::Write(path, content) if parent_is_plain(path) => {
            let free = fs::symlink_metadata(at(path)).map_or(true, |metadata| metadata.is_file());
            if free { fs::write(at(path), content) } else { Ok(()) }
        }
        Edit::Directory(path) if parent_is_plain(path) => fs::create_dir(at(path)),
        Edit::Remove(path) if parent_is_plain(path) => match fs::symlink_metadata(at(path)) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(at(path)),
            Ok(_) => fs::remove_file(at(path)),
            Err(error) => Err(error),
        },
        Edit::Symlink(path, target) if parent_is_plain(path) => {
            symlink(target.trim_start_matches('/'), at(path))
        }
        Edit::Link(from, to) if parent_is_plain(from) && parent_is_plain(to) => {
            fs::hard_link(at(from), at(to))
        }
        Edit::Rename(from, to) if parent_is_plain(from) && parent_is_plain(to) => {
            fs::rename(at(from), at(to))
        }
        Edit::Mode(path, mode) if parent_is_plain(path) && is_plain(path) => {
            fs::set_permissions(at(path), fs::Permissions::from_mode(*mode))
        }
        Edit::Owner(path, owner) if is_root() && parent_is_plain(path) => {
            std::os::unix::fs::lchown(at(path), Some(*owner), Some(owner / 2))
        }
        Edit::Attribute(path, value) if parent_is_plain(path) && is_plain(path) => {
            rustix::fs::setxattr(at(path), "user.note", &[*value], XattrFlags::empty()).map_err(Into::into)
        }
        Edit::Fifo(path) if parent_is_plain(path) => {
            rustix::fs::mkfifoat(rustix::fs::CWD, at(path), rustix::fs::Mode::RWXU).map_err(Into::into)
        }
        Edit::Open(path) if parent_is_plain(path) && is_plain(path) => {
            fs::OpenOptions::new().append(true).open(at(path)).map(drop)
        }
        _ => Ok(()),
    };
}

/// Directories for a lower and an upper layer and overlay's work, in that order.
pub(crate) fn layer_directories(root: &Path) -> [PathBuf; 3] {
    ["lower", "upper", "work"].map(|name| {
        let path = root.join(name);
        fs::create_dir(&path).unwrap();
        path
    })
}

/// Whether a path is a 0:0 character device.
pub(crate) fn is_whiteout_device(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.rdev() == 0 && metadata.mode() & 0o170_000 == 0o020_000)
}
