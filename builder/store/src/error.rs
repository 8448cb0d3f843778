//! Everything that can go wrong in the store. A variant is something a caller can act on; the message says what
//! happened, to what, and how to mend it.

use std::io;
use std::path::{Path, PathBuf};

use registry_types::Digest;

/// Result of every fallible function of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store, a layer or a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused something.
    #[error("{action} {path:?}: {source}{hint}", hint = hint(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// An archive or a compressed stream is malformed or ends too soon.
    #[error("the archive is damaged at {entry:?}: {reason}")]
    Archive { entry: String, reason: String },
    /// A name or a link of an archive leads out of the directory it is unpacked into.
    #[error("the archive entry {entry:?} is refused: {reason}")]
    Escape { entry: String, reason: &'static str },
    /// An archive or a tree goes beyond a limit.
    #[error("a limit is exceeded: {what} may be at most {limit}")]
    Limit { what: &'static str, limit: u64 },
    /// An entry cannot stand in an overlay layer or in a tar archive.
    #[error("{path:?} cannot be stored in a layer: {reason}")]
    Unrepresentable { path: String, reason: &'static str },
    /// Content is not what its digest says.
    #[error("the content is {actual} and not {expected}: fetch it again")]
    DigestMismatch { expected: Box<Digest>, actual: Box<Digest> },
    /// Content is shorter or longer than its descriptor says.
    #[error("{digest} has {actual} bytes and not {expected}: fetch it again")]
    SizeMismatch { digest: Digest, expected: u64, actual: u64 },
    /// A blob is not in the content store.
    #[error("blob {digest} is not in the local store: pull the image again")]
    BlobNotFound { digest: Digest },
    /// A snapshot is not in the store.
    #[error("snapshot {id} is not in the local store: build the step again")]
    SnapshotNotFound { id: String },
    /// Another process uses the store, so it cannot be pruned now.
    #[error("the store {path:?} is in use by another process: wait for its end and try again")]
    Busy { path: PathBuf },
    /// A record of the store cannot be read.
    #[error("the record {path:?} cannot be read: {reason}; remove it to go on without it")]
    Record { path: PathBuf, reason: String },
    /// A source of COPY or ADD does not exist.
    #[error("{path:?} does not exist in the source: check the path and the ignore file")]
    SourceNotFound { path: String },
    /// COPY or ADD cannot put a source at its destination.
    #[error("{path:?} cannot be copied to: {reason}")]
    Destination { path: String, reason: &'static str },
    /// A value given on the command line or in a Dockerfile is malformed.
    #[error("{text:?} is not {expected}")]
    Malformed { text: String, expected: &'static str },
}

/// What to do about the commonest refusals of the system.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => "; free space on the disk or prune the store",
        io::ErrorKind::QuotaExceeded => "; raise the disk quota or prune the store",
        io::ErrorKind::PermissionDenied => "; run as root or in a user namespace with subordinate ids",
        io::ErrorKind::InvalidInput => {
            "; if an owner is being set, its id may not be mapped in this user namespace"
        }
        _ => "",
    }
}

/// Turns an answer of the system into a [`StoreError::Io`] that names the path.
pub(crate) trait At<T> {
    /// `action` is a verb form: "opening", "writing".
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| StoreError::Io {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

/// Bytes of a name for a message: text where it is text.
pub(crate) fn shown(name: &[u8]) -> String {
    /// Longest piece of a name that a message repeats, in bytes.
    const SHOWN: usize = 160;
    let cut = name.get(..SHOWN).unwrap_or(name);
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < name.len() {
        text.push_str("...");
    }
    text
}
