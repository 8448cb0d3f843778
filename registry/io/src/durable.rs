//! The steps that make a write survive a crash, one function each. All of them block.
//!
//! A new file is durable when its data was synced ([`sync_data`]), it was given its name
//! ([`rename_noreplace`]), and the directory that holds the name was synced ([`sync_directory`]), in this order,
//! and when each directory above it was made by [`create_directories_synced`]. After an error of a sync the
//! kernel may have dropped the data that it could not write, and a second sync would say nothing of it: give
//! the file up.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::Path,
};

use rustix::{
    fs::{CWD, FallocateFlags, Mode, OFlags, RenameFlags, ResolveFlags},
    io::Errno,
};

/// Waits until a file's data and length are on the disk.
///
/// # Errors
/// After any, the file's content is unknown: never sync it again to find out.
pub fn sync_data(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Renames a file unless the new name is taken; both names must be on one file system.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when the name is taken: neither file is touched.
pub fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system or a seccomp filter does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => link_then_unlink(from, to),
        renamed => Ok(renamed?),
    }
}

/// The older way to rename without replacing. A crash in between leaves both names, which is no harm: the old
/// one is a temporary name.
fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

/// Waits until a directory's entries are on the disk.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes a directory and those above it that are missing, and waits until they are on the disk: each new one is
/// synced, and its parent too. What exists already is left as it is.
pub fn create_directories_synced(directory: &Path) -> io::Result<()> {
    let created = match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(parent) = directory.parent() else { return Err(error) };
            create_directories_synced(parent)?;
            fs::create_dir(directory)
        }
        created => created,
    };
    match created {
        Ok(()) => {
            sync_directory(directory)?;
            // The parent of a one-part relative path is the empty path.
            match directory.parent() {
                Some(parent) if parent.as_os_str().is_empty() => sync_directory(Path::new(".")),
                Some(parent) => sync_directory(parent),
                None => Ok(()),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reserves room on the disk for the first `length` bytes of a file without changing its length. A file system
/// that cannot is left alone.
///
/// # Errors
/// [`io::ErrorKind::StorageFull`] when there is no room.
pub fn preallocate(file: &File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        reserved => Ok(reserved?),
    }
}

/// Starts writing a range of a file to the disk and does not wait, so that a later [`sync_data`] is short. It
/// promises nothing; where the kernel does not offer it, nothing happens.
#[expect(unsafe_code, reason = "rustix does not wrap the call")]
pub fn start_writeback(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let (Ok(offset), Ok(length)) = (offset.try_into(), length.try_into()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // SAFETY: the call takes numbers only, and the borrowed file keeps the descriptor open.
    let code =
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if code == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP | libc::ESPIPE) => Ok(()),
        _ => Err(error),
    }
}

/// Opens a file for reading if the kernel can find it without waiting for a disk. `None` when it might have to
/// wait or cannot tell: then open it where waiting is allowed. Does not block.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] when the file is known not to be there.
pub fn open_cached(directory: &File, path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match rustix::fs::openat2(directory, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Ok(Some(file.into())),
        // Kernels before 5.12 do not know the flag, some seccomp filters not the call.
        Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::MetadataExt, path::PathBuf};

    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().to_owned();
        (folder, path)
    }

    #[test]
    fn a_rename_never_replaces() {
        for rename in [rename_noreplace, link_then_unlink] {
            let (_guard, folder) = folder();
            let (first, second, name) = (folder.join("first"), folder.join("second"), folder.join("name"));
            fs::write(&first, "first").expect("written");
            fs::write(&second, "second").expect("written");
            rename(&first, &name).expect("a free name");
            assert!(!first.exists());
            let error = rename(&second, &name).expect_err("the name is taken");
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&name).expect("there"), "first");
            assert_eq!(fs::read_to_string(&second).expect("still there"), "second");
        }
    }

    #[test]
    fn directories_are_made_once_and_a_file_in_the_way_is_an_error() {
        let (_guard, folder) = folder();
        let deep = folder.join("one/two/three");
        create_directories_synced(&deep).expect("made");
        create_directories_synced(&deep).expect("there already");
        assert!(deep.is_dir());
        sync_directory(&deep).expect("a directory can be synced");
        fs::write(folder.join("file"), "").expect("written");
        for wrong in ["file", "file/below"] {
            assert!(create_directories_synced(&folder.join(wrong)).is_err(), "{wrong}");
        }
        let error = sync_directory(&folder.join("absent")).expect_err("nothing to sync");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn preallocation_takes_room_and_keeps_the_length() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"abc").expect("written");
        preallocate(&file, 1 << 20).expect("there is room");
        preallocate(&file, 0).expect("nothing to do");
        let metadata = file.metadata().expect("metadata");
        assert_eq!(metadata.len(), 3);
        assert!(metadata.blocks() * 512 >= 1 << 20, "only {} blocks", metadata.blocks());
        let error = preallocate(&file, 1 << 55).expect_err("no disk is that large");
        assert!(
            matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge),
            "{error:?}"
        );
    }

    #[test]
    fn syncing_works_and_its_errors_are_seen() {
        let (_guard, folder) = folder();
        let mut file = File::create(folder.join("file")).expect("created");
        file.write_all(&vec![1; 100_000]).expect("written");
        start_writeback(&file, 0, 100_000).expect("started");
        sync_data(&file).expect("synced");
        assert!(start_writeback(&file, u64::MAX, 1).is_err());
        // A pipe cannot be synced.
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        let pipe = File::from(reader);
        assert!(sync_data(&pipe).is_err());
        start_writeback(&pipe, 0, 1).expect("a pipe has nothing to write back");
    }

    #[test]
    fn a_cached_open_finds_what_is_there_and_knows_what_is_not() {
        let (_guard, folder) = folder();
        fs::write(folder.join("file"), "text").expect("written");
        let directory = File::open(&folder).expect("opened");
        if let Some(file) = open_cached(&directory, Path::new("file")).expect("there") {
            assert_eq!(io::read_to_string(file).expect("readable"), "text");
        }
        assert!(!folder.join("absent").exists(), "and its absence is cached now");
        match open_cached(&directory, Path::new("absent")) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::NotFound),
            Ok(found) => assert!(found.is_none()),
        }
    }
}
