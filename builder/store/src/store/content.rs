//! Content by digest, laid out as an OCI image layout (`blobs/sha256/...`).
//!
//! A blob appears under its digest only when all its bytes are written, synced and known to have that digest, by one
//! rename; so whatever stands there is whole, also after a crash and with other processes writing the same blob.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use registry_types::{Algorithm, Descriptor, Digest, DigestHasher};
use tempfile::NamedTempFile;

use super::files::{self, TEMPORARY};
use crate::error::{At as _, Result, StoreError};

/// Bytes that are copied or hashed at once.
const COPY_BUFFER: usize = 256 * 1024;

/// Blobs on disk.
#[derive(Debug, Clone)]
pub struct ContentStore {
    blobs: PathBuf,
    ingest: PathBuf,
}

impl ContentStore {
    pub(super) fn open(root: &Path) -> Result<Self> {
        let store = Self { blobs: root.join("blobs"), ingest: root.join("ingest") };
        for algorithm in Algorithm::ALL {
            files::make_directory(&store.blobs.join(algorithm.name()))?;
        }
        files::make_directory(&store.ingest)?;
        Ok(store)
    }

    /// Where a blob lies, or would.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.algorithm().name()).join(digest.hex())
    }

    /// Begins a blob.
    pub fn ingest(&self) -> Result<Ingest> {
        let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.ingest);
        Ok(Ingest { store: self.clone(), file: file.at("writing to", &self.ingest)? })
    }

    /// Stores bytes under their sha256 digest.
    pub fn put(&self, content: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(content);
        if !self.contains(&digest) {
            let mut ingest = self.ingest()?;
            ingest.write_all(content).at("writing to", &self.ingest)?;
            ingest.commit_hashed(&digest)?;
        }
        Ok(digest)
    }

    /// Length of a blob in bytes; `None` if it is not there.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            metadata => Ok(Some(metadata.at("reading the size of", &path)?.len())),
        }
    }

    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Opens a blob for reading and notes its use.
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.path(digest);
        match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(StoreError::BlobNotFound { digest: *digest })
            }
            file => {
                let file = file.at("opening", &path)?;
                files::touch(&path);
                Ok(file)
            }
        }
    }

    /// Reads a small blob (a manifest, a config) whole and checks its digest.
    ///
    /// # Errors
    /// [`StoreError::Limit`] if it is larger than `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut file = self.open_blob(digest)?.take(limit.saturating_add(1));
        file.read_to_end(&mut content).at("reading", self.path(digest))?;
        if content.len() as u64 > limit {
            return Err(StoreError::Limit { what: "the size of a manifest or config", limit });
        }
        let actual = Digest::of(digest.algorithm(), &content);
        check(digest, &actual)?;
        Ok(content)
    }

    /// Writes a blob to `sink`, hashing on the way; returns its length.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] if the disk gave other bytes; the sink has them already then.
    pub fn copy_to(&self, digest: &Digest, sink: &mut dyn Write) -> Result<u64> {
        let mut file = self.open_blob(digest)?;
        let path = self.path(digest);
        let mut hasher = DigestHasher::new(digest.algorithm());
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            let count = file.read(&mut buffer).at("reading", &path)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            sink.write_all(&buffer[..count]).at("copying", &path)?;
        }
        let length = hasher.length();
        check(digest, &hasher.finish())?;
        Ok(length)
    }

    /// Removes a blob; that it is not there is fine.
    pub fn remove(&self, digest: &Digest) -> Result<()> {
        files::remove_file(&self.path(digest))
    }

    /// Digests of all blobs.
    pub fn list(&self) -> Result<Vec<Digest>> {
        let mut digests: Vec<Digest> = Vec::new();
        for algorithm in Algorithm::ALL {
            let names = files::names_in(&self.blobs.join(algorithm.name()))?;
            digests
                .extend(names.iter().filter_map(|name| format!("{algorithm}:{name}").parse::<Digest>().ok()));
        }
        digests.sort();
        Ok(digests)
    }

    /// Removes what killed processes left. Only for who holds the store alone.
    pub(super) fn remove_leftovers(&self) -> Result<()> {
        for name in files::names_in(&self.ingest)? {
            files::remove_file(&self.ingest.join(name))?;
        }
        Ok(())
    }
}

fn check(expected: &Digest, actual: &Digest) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(StoreError::DigestMismatch { expected: Box::new(*expected), actual: Box::new(*actual) })
}

/// A blob being written. Dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct Ingest {
    store: ContentStore,
    file: NamedTempFile,
}

impl Ingest {
    /// The file itself, for writers that fill it from several places at once.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Makes the blob visible after reading it again and comparing digest and size.
    pub fn commit_verified(mut self, expected: &Descriptor) -> Result<()> {
        let path = self.file.path().to_owned();
        let file = self.file.as_file_mut();
        file.rewind().at("reading", &path)?;
        let mut hasher = DigestHasher::new(expected.digest.algorithm());
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            let count = file.read(&mut buffer).at("reading", &path)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        if hasher.length() != expected.size {
            return Err(StoreError::SizeMismatch {
                digest: expected.digest,
                expected: expected.size,
                actual: hasher.length(),
            });
        }
        check(&expected.digest, &hasher.finish())?;
        self.commit_hashed(&expected.digest)
    }

    /// Makes the blob visible under a digest that the caller computed from the very bytes that were written.
    pub fn commit_hashed(self, digest: &Digest) -> Result<()> {
        let path = self.store.path(digest);
        self.file.as_file().sync_data().at("writing", &path)?;
        self.file.persist(&path).map_err(|error| error.error).at("writing", &path)?;
        Ok(())
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes to a first sink and then the same bytes to a second one: a layer into the store and up to a registry.
#[derive(Debug)]
pub struct Tee<A, B> {
    pub first: A,
    pub second: B,
}

impl<A: Write, B: Write> Write for Tee<A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.first.write(bytes)?;
        self.second.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.first.flush()?;
        self.second.flush()
    }
}
