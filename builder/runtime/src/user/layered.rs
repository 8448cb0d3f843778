//! Looking into a stack of layers without mounting it, by overlay's rules: the uppermost layer that has a name
//! decides, a whiteout ends the search, and an opaque directory hides what is below it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, readlinkat, statat};
use rustix::io::Errno;

use super::walk::{Entry, Lookup};
use crate::mounts::open_directory;

/// Both forms of overlay's mark, with and without `userxattr`.
const OPAQUE_MARKS: [&str; 2] = ["user.overlay.opaque", "trusted.overlay.opaque"];

/// Layers, uppermost first.
#[derive(Debug)]
pub(crate) struct LayeredRoot {
    layers: Vec<OwnedFd>,
}

impl LayeredRoot {
    pub(crate) fn open(layers: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let open = |path: &PathBuf| open_directory(path).map_err(|error| (path.clone(), error));
        Ok(Self { layers: layers.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Opens the file at a path that [`super::walk::follow`] found to be a file.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<OwnedFd> {
        let layer = self.deciding_layer(path)?.ok_or(Errno::NOENT)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        Ok(openat2(layer, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?)
    }

    /// The uppermost layer that has `path`, unless something above hides it.
    fn deciding_layer(&self, path: &Path) -> io::Result<Option<&OwnedFd>> {
        for layer in &self.layers {
            match visibility(layer, path)? {
                Visibility::Here => return Ok(Some(layer)),
                Visibility::Hidden => return Ok(None),
                Visibility::Below => {}
            }
        }
        Ok(None)
    }
}

impl Lookup for LayeredRoot {
    fn entry(&self, path: &Path) -> io::Result<Entry> {
        let Some(layer) = self.deciding_layer(path)? else { return Ok(Entry::Missing) };
        entry_at(layer, path)
    }
}

/// What stands at a link-free path below an open directory.
pub(crate) fn entry_at(root: &OwnedFd, path: &Path) -> io::Result<Entry> {
    use std::os::unix::ffi::OsStringExt as _;
    let stat = match statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Entry::Missing),
        other => other?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Entry::Directory,
        FileType::RegularFile => Entry::File,
        FileType::Symlink => {
            let target = readlinkat(root, path, Vec::new())?;
            Entry::Link(std::ffi::OsString::from_vec(target.into_bytes()).into())
        }
        _ => Entry::Special,
    })
}

enum Visibility {
    /// This layer has the entry.
    Here,
    /// This layer hides whatever is below.
    Hidden,
    /// This layer says nothing; ask the next.
    Below,
}

fn visibility(layer: &OwnedFd, path: &Path) -> io::Result<Visibility> {
    let mut prefix = PathBuf::new();
    let mut opaque = false;
    for component in path.components() {
        prefix.push(component);
        let stat = match statat(layer, &prefix, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(if opaque { Visibility::Hidden } else { Visibility::Below }),
            other => other?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return Ok(Visibility::Hidden);
        }
        let last = prefix.as_os_str().len() == path.as_os_str().len();
        if kind != FileType::Directory && !last {
            return Ok(Visibility::Hidden);
        }
        opaque = opaque || (kind == FileType::Directory && is_opaque(layer, &prefix));
    }
    Ok(Visibility::Here)
}

fn is_opaque(layer: &OwnedFd, path: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) =
        openat2(layer, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    else {
        return false;
    };
    OPAQUE_MARKS.iter().any(|mark| {
        let mut value = [0_u8; 8];
        rustix::fs::fgetxattr(&directory, *mark, &mut value[..]).is_ok_and(|length| value[..length] == *b"y")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::walk::follow;
    use super::*;

    fn write(layer: &Path, path: &str, content: &str) {
        let path = layer.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn content(layers: &[PathBuf], path: &str) -> Option<String> {
        let root = LayeredRoot::open(layers).unwrap();
        let found = follow(&root, Path::new(path)).unwrap();
        if found.entry != Entry::File {
            return None;
        }
        let file = fs::File::from(root.open_file(&found.path).unwrap());
        Some(io::read_to_string(file).unwrap())
    }

    #[test]
    fn the_uppermost_layer_decides_and_links_cross_layers() {
        let top = tempfile::tempdir().unwrap();
        let bottom = tempfile::tempdir().unwrap();
        write(bottom.path(), "etc/passwd", "bottom");
        write(bottom.path(), "etc/group", "bottom");
        write(top.path(), "etc/passwd", "top");
        symlink("/etc", top.path().join("link")).unwrap();
        let layers = [top.path().to_owned(), bottom.path().to_owned()];
        assert_eq!(content(&layers, "/etc/passwd").as_deref(), Some("top"));
        assert_eq!(content(&layers, "/link/group").as_deref(), Some("bottom"));
        assert_eq!(content(&layers, "/etc/shadow"), None);
    }

    #[test]
    fn an_opaque_directory_hides_what_is_below() {
        let top = tempfile::tempdir().unwrap();
        let bottom = tempfile::tempdir().unwrap();
        write(bottom.path(), "etc/passwd", "bottom");
        fs::create_dir(top.path().join("etc")).unwrap();
        let layers = [top.path().to_owned(), bottom.path().to_owned()];
        assert_eq!(content(&layers, "/etc/passwd").as_deref(), Some("bottom"));
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(top.path().join("etc"), "user.overlay.opaque", b"y", flags).unwrap();
        assert_eq!(content(&layers, "/etc/passwd"), None);
    }

    #[test]
    fn a_whiteout_or_a_file_in_the_way_hides_what_is_below() {
        let top = tempfile::tempdir().unwrap();
        let bottom = tempfile::tempdir().unwrap();
        write(bottom.path(), "etc/passwd", "bottom");
        write(top.path(), "etc", "a file where a directory was");
        let layers = [top.path().to_owned(), bottom.path().to_owned()];
        let root = LayeredRoot::open(&layers).unwrap();
        assert_eq!(root.entry(Path::new("etc/passwd")).unwrap(), Entry::Missing);
        fs::remove_file(top.path().join("etc")).unwrap();
        // Since Linux 5.8 anybody may make the 0:0 device that is overlay's whiteout.
        let kind = FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, top.path().join("etc"), kind, Mode::empty(), 0).unwrap();
        let root = LayeredRoot::open(&layers).unwrap();
        assert_eq!(root.entry(Path::new("etc")).unwrap(), Entry::Missing);
        assert_eq!(root.entry(Path::new("etc/passwd")).unwrap(), Entry::Missing);
    }
}
