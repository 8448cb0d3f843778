//! Room on the disk that blobs leave alone. A disk that uploads can fill to its last byte refuses every row, too:
//! not even what removes an upload can be written then. So blob bytes are refused while there is still room for
//! the metadata, and only they are.

use std::{fs::File, io};

/// Bytes that no blob takes on a disk large enough. The metadata's log grows to 16 MiB before it is copied into the
/// database, and to more in a burst; the copy takes as much again.
const FLOOR: u64 = 64 << 20;

/// On small disks the floor is this part of the whole, or it would be most of them.
const SMALLEST_PART: u64 = 8;

/// Whether `length` more bytes leave the floor free.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] when they do not.
pub(super) fn check_blocking(file: &File, length: u64) -> io::Result<()> {
    // A file system that cannot tell says so itself when it is full.
    let Ok(space) = rustix::fs::fstatvfs(file) else { return Ok(()) };
    let (total, available) =
        (space.f_blocks.saturating_mul(space.f_frsize), space.f_bavail.saturating_mul(space.f_frsize));
    if is_enough(total, available, length) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// `total` is 0 where the file system has no size.
fn is_enough(total: u64, available: u64, length: u64) -> bool {
    let floor = FLOOR.min(total / SMALLEST_PART);
    total == 0 || available >= floor.saturating_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_floor_is_sixty_four_mebibytes_or_an_eighth() {
        assert!(is_enough(1 << 40, 65 * MIB, MIB));
        assert!(!is_enough(1 << 40, 65 * MIB, MIB + 1));
        assert!(is_enough(24 * MIB, 4 * MIB, MIB));
        assert!(!is_enough(24 * MIB, 4 * MIB, MIB + 1));
        assert!(!is_enough(24 * MIB, 0, 0));
    }

    #[test]
    fn a_file_system_without_a_size_is_not_judged() {
        assert!(is_enough(0, 0, MIB));
    }
}
