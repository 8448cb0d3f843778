//! What an upper directory changes over its lower ones, as archive entries in one order: a directory before its content,
//! names by byte.
//!
//! - Whiteouts become `.wh.NAME`, and only where the lower layers have the name.
//! - An opaque directory is written as explicit whiteouts of what it hides, which every reader understands.
//! - Files copied up but not changed are left out, and so are unchanged directories, unless something in them changed:
//!   then they stand before it, so that a reader that unpacks the layer alone makes them with their true owner and mode.
//! - A directory's time alone is no change, as in BuildKit: it moves with every file that is made and removed again.
//! - Of several names of one file the first is the file, the others are links to it.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::WHITEOUT_PREFIX;
use crate::error::{At as _, Result, StoreError};
use crate::tar::{Entry, EntryKind, ModificationTime, TarWriter};
use crate::tree::{
    Attributes, FileKind, Metadata, Node, OverlayMarks, Root, Tree, TreePath, check_depth, same_content,
};

/// How a layer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// `SOURCE_DATE_EPOCH`: later times become this one, in seconds since 1970.
    pub source_date_epoch: Option<i64>,
}

/// What a layer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffSummary {
    /// Entries, whiteouts among them. A layer of none is empty: the step changed nothing.
    pub entries: u64,
    /// Sockets, which no archive can hold.
    pub skipped_sockets: u64,
}

impl DiffSummary {
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// Writes what the overlay directory `upper` changes over `lowers` (uppermost first).
///
/// # Errors
/// [`StoreError::Unrepresentable`] for a directory that overlay renamed by reference, for a file whose content is
/// still below, and for names that mean a removal in a layer.
pub fn write_diff<W: Write, P: AsRef<Path>>(
    upper: &Path,
    lowers: &[P],
    options: DiffOptions,
    writer: &mut TarWriter<W>,
) -> Result<DiffSummary> {
    let lower = Tree::open(lowers)?;
    let lower_root = if lowers.is_empty() { None } else { Some(lower.root()?) };
    let mut diff = Diff {
        upper: Root::open(upper)?,
        lower,
        options,
        writer,
        links: HashMap::new(),
        waiting: Vec::new(),
        summary: DiffSummary::default(),
    };
    diff.directory(&TreePath::root(), lower_root.as_ref(), false)?;
    Ok(diff.summary)
}

/// Writes the whole tree under `root`: a layer over nothing.
pub fn write_tree<W: Write>(
    root: &Path,
    options: DiffOptions,
    writer: &mut TarWriter<W>,
) -> Result<DiffSummary> {
    write_diff::<W, &Path>(root, &[], options, writer)
}

struct Diff<'a, W> {
    upper: Root,
    lower: Tree,
    options: DiffOptions,
    writer: &'a mut TarWriter<W>,
    /// First name of each file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    /// Unchanged directories around the present place that have not been written.
    waiting: Vec<Entry>,
    summary: DiffSummary,
}

/// A file of the upper directory.
struct Changed {
    entry: Entry,
    metadata: Metadata,
    marks: OverlayMarks,
    content: Option<File>,
}

impl<W: Write> Diff<'_, W> {
    /// Walks a directory of the upper layer. `lower` is the directory that it merges with; if `hides_lower`, nothing
    /// of that shows any more.
    fn directory(&mut self, path: &TreePath, lower: Option<&Node>, hides_lower: bool) -> Result<()> {
        check_depth(path)?;
        let mut names: BTreeSet<Vec<u8>> = self.upper.names(path)?.into_iter().collect();
        if let Some(lower) = lower.filter(|_| hides_lower) {
            let hidden = self.lower.children(lower)?;
            names.extend(hidden.iter().filter_map(|node| node.path.name()).map(<[u8]>::to_vec));
        }
        for name in names {
            self.name(path, &name, lower, hides_lower)?;
        }
        Ok(())
    }

    fn name(
        &mut self,
        directory: &TreePath,
        name: &[u8],
        lower: Option<&Node>,
        hides_lower: bool,
    ) -> Result<()> {
        let path = directory.join(name);
        let below = match lower {
            Some(lower) => self.lower.child(lower, name)?,
            None => None,
        };
        let changed = self.look(&path)?;
        let Some(changed) = changed.filter(|changed| !is_whiteout(changed)) else {
            return if below.is_some() { self.whiteout(directory, name) } else { Ok(()) };
        };
        if changed.metadata.kind == FileKind::Socket {
            self.summary.skipped_sockets += 1;
            return if below.is_some() { self.whiteout(directory, name) } else { Ok(()) };
        }
        refuse_unrepresentable(&path, name, &changed)?;
        if !changed.metadata.is_directory() {
            if let Some(below) = &below
                && self.is_unchanged(&changed, below)?
            {
                return Ok(());
            }
            return self.file(changed);
        }
        let below = below.filter(|below| below.metadata.is_directory());
        let hides_lower = hides_lower || changed.marks.opaque;
        let written_before = self.waiting.len();
        let unchanged = match &below {
            Some(below) => self.has_same_looks(&changed, below)?,
            None => false,
        };
        self.waiting.push(changed.entry);
        if !unchanged {
            self.write_waiting()?;
        }
        self.directory(&path, below.as_ref(), hides_lower)?;
        self.waiting.truncate(written_before);
        Ok(())
    }

    fn look(&self, path: &TreePath) -> Result<Option<Changed>> {
        let Some((_, metadata)) = self.upper.look(path)? else { return Ok(None) };
        let mut changed = Changed {
            entry: Entry {
                path: path.as_bytes().to_vec(),
                kind: EntryKind::Directory,
                mode: metadata.mode,
                uid: metadata.uid,
                gid: metadata.gid,
                modified: metadata.modified,
                xattrs: Vec::new(),
            },
            metadata,
            marks: OverlayMarks::default(),
            content: None,
        };
        let (major, minor) = metadata.device;
        changed.entry.kind = match metadata.kind {
            FileKind::File => EntryKind::File { size: metadata.size },
            FileKind::Directory | FileKind::Socket => EntryKind::Directory,
            FileKind::Symlink => EntryKind::Symlink { target: self.upper.read_link(path)? },
            FileKind::CharacterDevice => EntryKind::CharacterDevice { major, minor },
            FileKind::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileKind::Fifo => EntryKind::Fifo,
        };
        if matches!(metadata.kind, FileKind::File | FileKind::Directory) {
            let handle = self.upper.open_to_read(path)?;
            let attributes = Attributes::read(handle.as_fd());
            let attributes = attributes.at("reading the attributes of", self.upper.shown(path))?;
            changed.entry.xattrs = attributes.kept;
            changed.marks = attributes.marks;
            changed.content = (metadata.kind == FileKind::File).then(|| File::from(handle));
        }
        Ok(Some(changed))
    }

    /// Whether all is the same but the time.
    fn has_same_looks(&self, changed: &Changed, below: &Node) -> Result<bool> {
        let (now, before) = (&changed.metadata, &below.metadata);
        Ok(now.kind == before.kind
            && now.mode == before.mode
            && (now.uid, now.gid) == (before.uid, before.gid)
            && changed.entry.xattrs == self.lower.xattrs(below)?)
    }

    /// Whether a file was copied up and then left alone.
    fn is_unchanged(&self, changed: &Changed, below: &Node) -> Result<bool> {
        // Another name of the file may have to link to this one.
        if changed.metadata.links > 1
            || changed.metadata.modified != below.metadata.modified
            || !self.has_same_looks(changed, below)?
        {
            return Ok(false);
        }
        match &changed.entry.kind {
            EntryKind::Symlink { target } => Ok(*target == self.lower.read_link(below)?),
            EntryKind::File { size } => {
                if *size != below.metadata.size {
                    return Ok(false);
                }
                let Some(content) = &changed.content else { return Ok(false) };
                let shown = self.lower.shown(below);
                let content = content.try_clone().at("reading", &shown)?;
                let same = same_content(content, self.lower.open_file(below)?).at("reading", &shown)?;
                // Both handles share one place in the file.
                if let Some(mut content) = changed.content.as_ref() {
                    std::io::Seek::rewind(&mut content).at("reading", &shown)?;
                }
                Ok(same)
            }
            _ => Ok(changed.metadata.device == below.metadata.device),
        }
    }

    fn file(&mut self, mut changed: Changed) -> Result<()> {
        if changed.metadata.links > 1 {
            let path = changed.entry.path.clone();
            let first = self.links.entry(changed.metadata.identity).or_insert_with(|| path.clone());
            if *first != path {
                changed.entry.kind = EntryKind::Hardlink { target: first.clone() };
                // They belong to the file, which has them.
                changed.entry.xattrs = Vec::new();
            }
        }
        self.write_waiting()?;
        match changed.content {
            Some(mut content) => self.write(changed.entry, &mut content),
            None => self.write(changed.entry, &mut std::io::empty()),
        }
    }

    fn whiteout(&mut self, directory: &TreePath, name: &[u8]) -> Result<()> {
        self.write_waiting()?;
        let path = directory.join(&[WHITEOUT_PREFIX, name].concat());
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind: EntryKind::File { size: 0 },
            mode: 0,
            uid: 0,
            gid: 0,
            modified: ModificationTime::default(),
            xattrs: Vec::new(),
        };
        self.write(entry, &mut std::io::empty())
    }

    /// Writes the directories around the present place. Written ones leave the list, so it shrinks from the front
    /// only as a whole.
    fn write_waiting(&mut self) -> Result<()> {
        for entry in std::mem::take(&mut self.waiting) {
            self.write(entry, &mut std::io::empty())?;
        }
        Ok(())
    }

    fn write(&mut self, mut entry: Entry, content: &mut dyn std::io::Read) -> Result<()> {
        entry.modified.nanoseconds = 0;
        if let Some(epoch) = self.options.source_date_epoch {
            entry.modified.seconds = entry.modified.seconds.min(epoch);
        }
        self.summary.entries += 1;
        self.writer.append(&entry, content)
    }
}

fn is_whiteout(changed: &Changed) -> bool {
    changed.metadata.is_whiteout_device() || changed.marks.whiteout
}

fn refuse_unrepresentable(path: &TreePath, name: &[u8], changed: &Changed) -> Result<()> {
    let refuse = |reason| Err(StoreError::Unrepresentable { path: path.to_string(), reason });
    if name.starts_with(WHITEOUT_PREFIX) {
        return refuse("a name that begins with .wh. means a removal");
    }
    if changed.marks.redirect {
        return refuse("overlay renamed this directory by reference; mount it with redirect_dir=nofollow");
    }
    if changed.marks.metacopy {
        return refuse("overlay left the content of this file below; mount it with metacopy=off");
    }
    if changed.entry.xattrs.iter().any(|(name, _)| name.contains(&b'=')) {
        return refuse("the name of an extended attribute holds an equals sign");
    }
    Ok(())
}
