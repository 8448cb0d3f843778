//! Extended attributes: which belong into layers, and which are overlay's own marks.

use std::os::fd::BorrowedFd;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

use crate::tar::ExtendedAttributes;

/// First guess for the size of a list or a value; the system says if it is too small.
const USUAL_SIZE: usize = 512;
/// Linux keeps no longer list and no longer value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const LARGEST_SIZE: usize = 64 * 1024;

/// File capabilities, kept in images.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";
const USER: &[u8] = b"user.";
/// Where overlay keeps its marks: the first when mounted with `userxattr`, the second otherwise.
const OVERLAY: [&[u8]; 2] = [b"user.overlay.", b"trusted.overlay."];

/// Attributes of a file that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// What belongs into a layer, sorted by name.
    pub(crate) kept: ExtendedAttributes,
    pub(crate) marks: OverlayMarks,
}

/// Overlay's marks on one file or directory (kernel documentation, "Overlay Filesystem").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OverlayMarks {
    /// Nothing of the layers below shows in this directory.
    pub(crate) opaque: bool,
    /// An empty file that hides what is below, where device files cannot be made.
    pub(crate) whiteout: bool,
    /// A renamed directory whose content is elsewhere in a lower layer.
    pub(crate) redirect: bool,
    /// A file whose content is still in a lower layer.
    pub(crate) metacopy: bool,
}

/// Whether an attribute belongs into layers: capabilities and users' own. The rest is the host's business (labels of
/// security modules, trusted attributes) or overlay's.
pub(crate) fn belongs_into_layers(name: &[u8]) -> bool {
    name == CAPABILITY || (name.starts_with(USER) && !name.starts_with(OVERLAY[0]))
}

impl Attributes {
    /// Attributes of an open file or directory; none on file systems without them.
    pub(crate) fn read(handle: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let list = match read_growing(|buffer| rustix::fs::flistxattr(handle, buffer)) {
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Self::default()),
            list => list?,
        };
        let mut attributes = Self::default();
        for name in list.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            if let Some(mark) = OVERLAY.iter().find_map(|prefix| name.strip_prefix(*prefix)) {
                match mark {
                    b"opaque" => attributes.marks.opaque = value(handle, name)? == b"y",
                    b"whiteout" => attributes.marks.whiteout = true,
                    b"redirect" => attributes.marks.redirect = true,
                    b"metacopy" => attributes.marks.metacopy = true,
                    _ => {}
                }
            } else if belongs_into_layers(name) {
                attributes.kept.push((name.to_vec(), normal(name, value(handle, name)?)));
            }
        }
        attributes.kept.sort();
        Ok(attributes)
    }
}

fn value(handle: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Vec<u8>> {
    read_growing(|buffer| rustix::fs::fgetxattr(handle, name, buffer))
}

fn read_growing(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    for size in [USUAL_SIZE, LARGEST_SIZE] {
        let mut buffer = vec![0; size];
        match read(&mut buffer) {
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
    Err(Errno::RANGE)
}

/// Capabilities set inside a user namespace carry the id of its root (version 3, 24 bytes). In an image they mean the
/// root of whoever runs it, which is version 2: the same without the id (linux/capability.h, `vfs_ns_cap_data`).
fn normal(name: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    const VERSION_BYTE: usize = 3;
    const LENGTH: [usize; 2] = [20, 24];
    if name == CAPABILITY && value.len() == LENGTH[1] && value[VERSION_BYTE] == 3 {
        value[VERSION_BYTE] = 2;
        value.truncate(LENGTH[0]);
    }
    value
}

/// Sets the attributes that belong into layers.
pub(crate) fn write(handle: BorrowedFd<'_>, xattrs: &ExtendedAttributes) -> rustix::io::Result<()> {
    for (name, value) in xattrs.iter().filter(|(name, _)| belongs_into_layers(name)) {
        rustix::fs::fsetxattr(handle, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

/// Makes `wanted` the only kept attributes of a directory that may have others.
pub(crate) fn replace(handle: BorrowedFd<'_>, wanted: &ExtendedAttributes) -> rustix::io::Result<()> {
    for (name, _) in Attributes::read(handle)?.kept {
        if !wanted.iter().any(|(other, _)| *other == name) {
            rustix::fs::fremovexattr(handle, name.as_slice())?;
        }
    }
    write(handle, wanted)
}

/// Marks a directory opaque. `user.` is what mounts with `userxattr` read, which are the only ones made here.
pub(crate) fn mark_opaque(directory: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(directory, "user.overlay.opaque", b"y", XattrFlags::empty())
}

/// Marks an empty file as a whiteout, and its directory as one that may hold such files, as Linux 6.7 asks.
pub(crate) fn mark_whiteout(directory: BorrowedFd<'_>, file: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(file, "user.overlay.whiteout", b"", XattrFlags::empty())?;
    if !Attributes::read(directory)?.marks.opaque {
        rustix::fs::fsetxattr(directory, "user.overlay.opaque", b"x", XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn capabilities_of_a_namespace_become_plain() {
        let mut inner = vec![1, 0, 0, 3];
        inner.extend([7; 16]);
        inner.extend([0xe8, 3, 0, 0]);
        let plain = normal(CAPABILITY, inner.clone());
        assert_eq!(plain.len(), 20);
        assert_eq!(plain[..4], [1, 0, 0, 2]);
        assert_eq!(plain[4..], inner[4..20]);
        assert_eq!(normal(b"user.x", inner.clone()), inner);
    }

    #[test]
    fn overlay_marks_are_told_from_attributes() {
        let file = tempfile::tempfile().unwrap();
        let long = vec![9; 3000];
        let wanted = vec![(b"user.a".to_vec(), long), (b"user.b".to_vec(), b"2".to_vec())];
        write(file.as_fd(), &wanted).unwrap();
        mark_opaque(file.as_fd()).unwrap();
        write(file.as_fd(), &vec![(b"user.overlay.redirect".to_vec(), b"/x".to_vec())]).unwrap();
        let attributes = Attributes::read(file.as_fd()).unwrap();
        assert_eq!(attributes.kept, wanted);
        assert!(attributes.marks.opaque && !attributes.marks.redirect);
        replace(file.as_fd(), &wanted[1..].to_vec()).unwrap();
        let attributes = Attributes::read(file.as_fd()).unwrap();
        assert_eq!(attributes.kept, wanted[1..]);
        assert!(attributes.marks.opaque, "overlay's marks stay");
    }
}
