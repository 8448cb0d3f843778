//! The stream to a node: an OCI image layout as a tar of `oci-layout`, the missing blobs and `index.json`, in
//! this order, written straight from the source with one buffer. containerd takes a layout that lacks blobs
//! which its content store has.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use registry_types::{Descriptor, MediaType};
use serde::Serialize;
use tar::{EntryType, Header};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::plan::{Content, Part, Plan};
use crate::{ImageSource, ImportError, docker::FeedError};

/// A tar file is made of blocks of this size.
const BLOCK: usize = 512;
/// Longest name that fits a plain header.
const LONGEST_NAME: usize = 100;
/// Read from the source and written to the node at once: large enough that system calls do not count, small
/// enough for many nodes at a time.
const BUFFER: usize = 128 << 10;
/// The annotation by which containerd names an image of an archive.
const NAME_ANNOTATION: &str = "io.containerd.image.name";
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The layout's index (image specification, "OCI Image Index Specification").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// Writes the archive of a plan, bit by bit.
pub(crate) struct ArchiveWriter<'a, W> {
    pub(crate) sink: &'a mut W,
    pub(crate) source: &'a dyn ImageSource,
    /// Longest pause of source or sink.
    pub(crate) stall: Duration,
    /// Bytes that the sink took, for others to read meanwhile.
    pub(crate) sent: &'a AtomicU64,
    /// Called after each write with the bytes so far.
    pub(crate) progress: &'a (dyn Fn(u64) + Send + Sync),
}

impl<W: AsyncWrite + Unpin> ArchiveWriter<'_, W> {
    /// Writes everything that `plan` names. Does not close the sink.
    pub(crate) async fn write(mut self, plan: &Plan) -> Result<(), FeedError> {
        self.entry("oci-layout", LAYOUT).await?;
        for part in &plan.parts {
            self.part(part).await?;
        }
        let index = serde_json::to_vec(&index_of(plan)).expect("descriptors always serialise");
        self.entry("index.json", &index).await?;
        self.put(&[0; 2 * BLOCK]).await
    }

    async fn part(&mut self, part: &Part) -> Result<(), FeedError> {
        let Descriptor { digest, size, .. } = &part.descriptor;
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        match &part.content {
            Content::Bytes(bytes) => self.entry(&name, bytes).await,
            Content::Layer(image) => {
                let reference = &image.reference;
                let failed =
                    |error: crate::SourceError| FeedError::Other(ImportError::source(reference, error));
                let mut reader = self.source.open(reference, &part.descriptor).await.map_err(failed)?;
                self.put(&header(&name, *size)).await?;
                let mut buffer = vec![0; BUFFER];
                let mut left = *size;
                loop {
                    let length = self.unstalled(fill(&mut reader, &mut buffer)).await?;
                    let length = length.map_err(|error| failed(error.into()))?;
                    let wrong = |difference| {
                        FeedError::Other(ImportError::wrong_size(reference, digest, *size, difference))
                    };
                    if length as u64 > left {
                        return Err(wrong("longer"));
                    }
                    if length == 0 {
                        if left > 0 {
                            return Err(wrong("shorter"));
                        }
                        break;
                    }
                    left -= length as u64;
                    self.put(&buffer[..length]).await?;
                }
                self.pad(*size).await
            }
        }
    }

    async fn entry(&mut self, name: &str, content: &[u8]) -> Result<(), FeedError> {
        self.put(&header(name, content.len() as u64)).await?;
        self.put(content).await?;
        self.pad(content.len() as u64).await
    }

    async fn pad(&mut self, size: u64) -> Result<(), FeedError> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; BLOCK][over..]).await }
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(), FeedError> {
        for piece in bytes.chunks(BUFFER) {
            match timeout(self.stall, self.sink.write_all(piece)).await {
                Ok(written) => written.map_err(|_| FeedError::Pipe)?,
                Err(_) => return Err(self.stalled("sending to the node")),
            }
            let sent = self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed) + piece.len() as u64;
            (self.progress)(sent);
        }
        Ok(())
    }

    async fn unstalled<T>(&mut self, reading: impl Future<Output = T>) -> Result<T, FeedError> {
        timeout(self.stall, reading).await.map_err(|_| self.stalled("reading from the image's source"))
    }

    fn stalled(&self, action: &str) -> FeedError {
        let error = ImportError::TimedOut { action: action.to_owned(), seconds: self.stall.as_secs() };
        FeedError::Other(error)
    }
}

/// Fills `buffer` as far as the reader goes: sources may hand out tiny pieces.
async fn fill(reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]).await? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}

fn index_of(plan: &Plan) -> Index {
    let manifests = plan
        .names
        .iter()
        .map(|(name, target)| {
            let annotations = BTreeMap::from([(NAME_ANNOTATION.to_owned(), name.clone())]);
            Descriptor { annotations: Some(annotations), ..target.clone() }
        })
        .collect();
    Index { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests }
}

/// The header of a regular file; a name too long for it goes into an entry of its own before it (GNU tar
/// manual, "Extensions": `././@LongLink`), as for sha512 digests.
fn header(name: &str, size: u64) -> Vec<u8> {
    let block = |name: &str, kind: EntryType, size: u64| {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        *header.as_bytes()
    };
    if name.len() <= LONGEST_NAME {
        return block(name, EntryType::Regular, size).to_vec();
    }
    let mut blocks = block("././@LongLink", EntryType::GNULongName, name.len() as u64 + 1).to_vec();
    blocks.extend(name.as_bytes());
    // The longest digest makes a name of 141 bytes: one block, with the zero that ends it.
    blocks.resize(2 * BLOCK, 0);
    blocks.extend(block(&name[..LONGEST_NAME], EntryType::Regular, size));
    blocks
}

#[cfg(test)]
mod tests;
