//! How far an upload session is: what the metadata store keeps in its row and the blob store goes on from.

use crate::HashState;

/// How far an upload session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadProgress {
    /// The hash state over exactly the bytes that are durable in the blob store.
    pub hash: HashState,
    /// What the blob store needs to go on, on another machine too; only it reads this.
    pub store: Vec<u8>,
}

impl UploadProgress {
    /// Bytes that are durable.
    pub fn length(&self) -> u64 {
        self.hash.length
    }
}

impl From<HashState> for UploadProgress {
    /// Progress of a blob store that needs nothing more, and of a session that has no bytes.
    fn from(hash: HashState) -> Self {
        Self { hash, store: Vec::new() }
    }
}
