//! One process per data folder: a lock that ends with the process that holds it, however it ends.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use rustix::{fs::FlockOperation, io::Errno};

/// Name of the lock file in its folder.
const LOCK_FILE: &str = "LOCK";

/// Longest content of the lock file that is read: a process id has at most ten digits.
const LONGEST_CONTENT: u64 = 32;

/// A folder that no other process can lock until this value is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    file: File,
}

/// Why a folder was not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has the lock; its id if the file tells.
    #[error("{} is in use by {}: stop it, or use another folder", directory.display(), process(*holder))]
    Held { directory: PathBuf, holder: Option<u32> },
    #[error("cannot lock {}: {source}", directory.display())]
    Io { directory: PathBuf, source: io::Error },
}

fn process(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"))
}

impl DirectoryLock {
    /// Locks an existing folder and notes this process's id in its lock file. Does not wait; blocks only on the
    /// disk.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { directory: directory.to_owned(), source };
        let mut options = OpenOptions::new();
        // Truncated only once it is locked: until then the content is the holder's.
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(directory.join(LOCK_FILE)).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut content = String::new();
                let holder = file.take(LONGEST_CONTENT).read_to_string(&mut content).ok();
                let holder = holder.and_then(|_| content.trim().parse().ok());
                return Err(LockError::Held { directory: directory.to_owned(), holder });
            }
            Err(error) => return Err(failed(error.into())),
        }
        let note = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note(&mut file).map_err(failed)?;
        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two processes lock two files of one name. An id that stays in it
        // is no harm either, since the lock itself ends with the descriptor.
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_locked_once_and_free_after_the_holder_is_gone() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lock = DirectoryLock::acquire(folder.path()).expect("free");
        match DirectoryLock::acquire(folder.path()) {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        let error = DirectoryLock::acquire(folder.path()).expect_err("held").to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(lock);
        drop(DirectoryLock::acquire(folder.path()).expect("free again"));
        std::fs::write(folder.path().join(LOCK_FILE), "4194305\n").expect("written");
        DirectoryLock::acquire(folder.path()).expect("an id left by a killed process does not lock");
        let absent = folder.path().join("absent");
        assert!(matches!(DirectoryLock::acquire(&absent), Err(LockError::Io { .. })));
    }
}
