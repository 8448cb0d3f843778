//! Paths inside a file tree: relative, without `.`, `..`, empty parts or zero bytes. A [`TreePath`] that exists cannot
//! lead out of its root by its text alone.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A clean relative path as bytes; empty for the root itself.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// Why a name is not a path inside the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    Absolute,
    ParentReference,
    ZeroByte,
}

impl PathError {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Absolute => "its path is absolute",
            Self::ParentReference => "its path holds \"..\"",
            Self::ZeroByte => "its path holds a zero byte",
        }
    }
}

impl TreePath {
    /// The root of the tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// Takes a relative name; `.` and doubled or trailing slashes are dropped.
    pub fn parse(name: &[u8]) -> Result<Self, PathError> {
        if name.first() == Some(&b'/') {
            return Err(PathError::Absolute);
        }
        Self::parse_rooted(name)
    }

    /// As [`TreePath::parse`], but an absolute name is taken from the root of the tree.
    pub fn parse_rooted(name: &[u8]) -> Result<Self, PathError> {
        if name.contains(&0) {
            return Err(PathError::ZeroByte);
        }
        let mut path = Self::root();
        for part in parts(name) {
            if part == b".." {
                return Err(PathError::ParentReference);
            }
            path.push(part);
        }
        Ok(path)
    }

    /// The path that `text` names in a root of its own: `..` goes up and stops at the root, as `chroot` has it.
    pub fn clamped(text: &[u8]) -> Self {
        let mut path = Self::root();
        for part in parts(text) {
            match part {
                b".." => path = path.parent().unwrap_or_default(),
                _ => path.push(part),
            }
        }
        path
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The last part; `None` for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().last()
    }

    /// The directory that holds the path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The path of `name`, one plain part, in this directory.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = self.clone();
        path.push(name);
        path
    }

    /// This path followed by another.
    pub fn append(&self, other: &Self) -> Self {
        let mut path = self.clone();
        other.components().for_each(|part| path.push(part));
        path
    }

    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        parts(&self.0)
    }

    fn push(&mut self, part: &[u8]) {
        debug_assert!(!part.is_empty() && !part.contains(&b'/'), "a part is one name");
        if !self.0.is_empty() {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(part);
    }
}

/// Names between slashes, without empty ones and `.`.
pub(crate) fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// Names as the walk meets them: a directory before its content, names in byte order.
impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        assert_eq!(TreePath::parse(b"./usr//bin/./x/").unwrap().as_bytes(), b"usr/bin/x");
        assert!(TreePath::parse(b"./").unwrap().is_root());
        assert_eq!(TreePath::parse(b"/etc"), Err(PathError::Absolute));
        assert_eq!(TreePath::parse(b"a/../b"), Err(PathError::ParentReference));
        assert_eq!(TreePath::parse(b"a\0b"), Err(PathError::ZeroByte));
        assert_eq!(TreePath::parse_rooted(b"/etc").unwrap().as_bytes(), b"etc");
        assert_eq!(TreePath::clamped(b"/a/../../b/c/..").as_bytes(), b"b");
    }

    #[test]
    fn a_directory_sorts_before_its_content_and_content_before_neighbours() {
        let mut paths: Vec<_> =
            [&b"a-b"[..], b"a/z", b"a", b"b"].map(|name| TreePath::parse(name).unwrap()).to_vec();
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(TreePath::as_bytes).collect();
        assert_eq!(sorted, [&b"a"[..], b"a/z", b"a-b", b"b"]);
    }

    proptest! {
        #[test]
        fn no_text_leads_out(text in proptest::collection::vec(any::<u8>(), 0..24)) {
            for path in [TreePath::parse(&text), TreePath::parse_rooted(&text)].into_iter().flatten() {
                prop_assert!(path.components().all(|part| part != b".." && part != b"."));
                prop_assert!(path.as_bytes().first() != Some(&b'/'));
            }
        }
    }
}
