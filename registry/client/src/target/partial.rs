//! A blob in the making beside its place: `.HEX.partial`. What an earlier copy left in it is hashed and kept, so a copy
//! that was killed goes on; a lock keeps two copies from writing it at once.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use registry_types::{Descriptor, Digest, DigestHasher};

use super::WRITE_LENGTH;

#[derive(Debug)]
pub(super) struct Partial {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Has seen all bytes of the file.
    pub(super) hasher: DigestHasher,
}

impl Partial {
    /// Opens what there is, or a new file. It waits for another copy that writes it.
    pub(super) fn open_blocking(folder: &Path, blob: &Descriptor) -> io::Result<Self> {
        let path = folder.join(format!(".{}.partial", blob.digest.hex()));
        let mut file = locked_blocking(&path)?;
        let mut hasher = hash_blocking(&mut file, &blob.digest)?;
        if hasher.length() > blob.size {
            file.set_len(0)?;
            hasher = DigestHasher::new(blob.digest.algorithm());
        }
        file.seek(SeekFrom::Start(hasher.length()))?;
        Ok(Self { file, path, hasher })
    }

    /// Throws away what there is.
    pub(super) fn empty_blocking(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hasher = DigestHasher::new(self.hasher.algorithm());
        Ok(())
    }

    /// Puts the file, which is whole, in its place.
    pub(super) fn keep_blocking(self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, place)
    }
}

fn locked_blocking(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        // Whoever had the lock may have moved the file to its place: then the name is free again.
        match std::fs::metadata(path) {
            Ok(there) if there.ino() == file.metadata()?.ino() => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether the file at `path` is the blob, by length and digest.
pub(super) fn is_whole_blocking(path: &Path, blob: &Descriptor) -> io::Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() != blob.size {
        return Ok(false);
    }
    Ok(hash_blocking(&mut file, &blob.digest)?.finish() == blob.digest)
}

fn hash_blocking(file: &mut File, digest: &Digest) -> io::Result<DigestHasher> {
    let mut hasher = DigestHasher::new(digest.algorithm());
    let mut piece = vec![0; WRITE_LENGTH];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(hasher);
        }
        hasher.update(piece.get(..length).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use registry_types::MediaType;

    use super::*;

    #[test]
    fn what_was_written_is_known_when_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let content = b"the content of a blob";
        let media_type = MediaType::known(MediaType::OCI_LAYER);
        let blob = Descriptor::new(media_type, Digest::sha256(content), content.len() as u64);
        let mut partial = Partial::open_blocking(folder.path(), &blob).unwrap();
        partial.file.write_all(&content[..7]).unwrap();
        drop(partial);
        let mut partial = Partial::open_blocking(folder.path(), &blob).unwrap();
        assert_eq!(partial.hasher.length(), 7);
        partial.file.write_all(&content[7..]).unwrap();
        let place = folder.path().join("place");
        partial.keep_blocking(&place).unwrap();
        assert!(is_whole_blocking(&place, &blob).unwrap());
        // Longer than the blob: it cannot be a part of it.
        let mut partial = Partial::open_blocking(folder.path(), &blob).unwrap();
        partial.file.write_all(&[0; 100]).unwrap();
        drop(partial);
        assert_eq!(Partial::open_blocking(folder.path(), &blob).unwrap().hasher.length(), 0);
        std::fs::write(&place, "another content of it").unwrap();
        assert!(!is_whole_blocking(&place, &blob).unwrap());
    }

    #[test]
    fn a_second_copy_waits_and_does_not_write_into_what_the_first_has_put_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let media_type = MediaType::known(MediaType::OCI_LAYER);
        let blob = Descriptor::new(media_type, Digest::sha256(b"x"), 1);
        let mut first = Partial::open_blocking(folder.path(), &blob).unwrap();
        let place = folder.path().join("place");
        std::thread::scope(|scope| {
            let second = scope.spawn(|| Partial::open_blocking(folder.path(), &blob).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!second.is_finished(), "two copies write one file");
            first.file.write_all(b"x").unwrap();
            first.keep_blocking(&place).unwrap();
            let mut second = second.join().unwrap();
            second.file.write_all(b"y").unwrap();
        });
        assert_eq!(std::fs::read(&place).unwrap(), b"x");
    }
}
