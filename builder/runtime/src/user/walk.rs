//! Finding a path inside a root file system the way the kernel would after `chroot`, without entering it.
//!
//! Symbolic links are followed inside the root: an absolute target starts again at the root and `..` stops there. The
//! result is a path free of links, so that it can be used as it is on every layer.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

/// The kernel's own limit on links in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Missing,
    Directory,
    Link(PathBuf),
    File,
    /// Device, fifo or socket.
    Special,
}

/// Something that can be asked for the entry at a relative path free of links.
pub(crate) trait Lookup {
    fn entry(&self, path: &Path) -> io::Result<Entry>;
}

/// A path followed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Relative to the root, free of links and `..`; empty for the root itself.
    pub(crate) path: PathBuf,
    /// What stands there; `Missing` also when a parent is missing.
    pub(crate) entry: Entry,
}

/// Follows `path` inside the root.
///
/// Fails with `ELOOP` after 40 links and with `ENOTDIR` where a file stands in the place of a directory.
pub(crate) fn follow(root: &impl Lookup, path: &Path) -> io::Result<Found> {
    let mut rest: VecDeque<OsString> = VecDeque::new();
    push_front(&mut rest, path);
    let mut found = Found { path: PathBuf::new(), entry: Entry::Directory };
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            found.path.pop();
            found.entry = Entry::Directory;
            continue;
        }
        if found.entry == Entry::Missing {
            found.path.push(name);
            continue;
        }
        if found.entry != Entry::Directory {
            return Err(Errno::NOTDIR.into());
        }
        let next = found.path.join(&name);
        match root.entry(&next)? {
            Entry::Link(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP.into());
                }
                if target.is_absolute() {
                    found.path = PathBuf::new();
                }
                push_front(&mut rest, &target);
            }
            entry => found = Found { path: next, entry },
        }
    }
    Ok(found)
}

fn push_front(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Tree(BTreeMap<&'static str, Entry>);

    impl Lookup for Tree {
        fn entry(&self, path: &Path) -> io::Result<Entry> {
            Ok(self.0.get(path.to_str().unwrap()).cloned().unwrap_or(Entry::Missing))
        }
    }

    fn tree() -> Tree {
        Tree(BTreeMap::from([
            ("etc", Entry::Directory),
            ("etc/passwd", Entry::File),
            ("etc/resolv.conf", Entry::Link("../run/resolve/stub".into())),
            ("var", Entry::Directory),
            ("var/run", Entry::Link("/run".into())),
            ("run", Entry::Directory),
            ("escape", Entry::Link("../../../../etc".into())),
            ("loop", Entry::Link("loop".into())),
        ]))
    }

    fn path(path: &str) -> (String, Entry) {
        let found = follow(&tree(), Path::new(path)).unwrap();
        (found.path.to_str().unwrap().to_owned(), found.entry)
    }

    #[test]
    fn links_stay_inside() {
        assert_eq!(path("/etc/passwd"), ("etc/passwd".into(), Entry::File));
        assert_eq!(path("/var/run"), ("run".into(), Entry::Directory));
        assert_eq!(path("/escape/passwd"), ("etc/passwd".into(), Entry::File));
        assert_eq!(path("/../../etc/./passwd"), ("etc/passwd".into(), Entry::File));
    }

    #[test]
    fn a_dangling_link_gives_the_place_it_points_to() {
        assert_eq!(path("/etc/resolv.conf"), ("run/resolve/stub".into(), Entry::Missing));
    }

    #[test]
    fn loops_and_files_as_directories_are_errors() {
        let error = follow(&tree(), Path::new("/loop")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        let error = follow(&tree(), Path::new("/etc/passwd/x")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::NOTDIR.raw_os_error()));
    }

    proptest::proptest! {
        #[test]
        fn no_path_and_no_link_leads_out(
            path in "(/?(\\.\\.|\\.|a|b|l|m)){0,8}",
            first in "(/?(\\.\\.|a|b|m)){1,5}",
            second in "(/?(\\.\\.|a|b|l)){1,5}",
        ) {
            let mut entries = BTreeMap::from([("a", Entry::Directory), ("a/b", Entry::Directory), ("b", Entry::File)]);
            for (name, target) in [("l", &first), ("a/l", &first), ("m", &second), ("a/b/m", &second)] {
                entries.insert(name, Entry::Link(target.into()));
            }
            if let Ok(found) = follow(&Tree(entries), Path::new(&path)) {
                let plain = found.path.components().all(|part| matches!(part, Component::Normal(_)));
                proptest::prop_assert!(plain, "{:?}", found.path);
            }
        }
    }
}
