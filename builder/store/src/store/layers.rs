//! Between blobs and snapshots: unpacking a compressed layer, and writing a snapshot's changes as one.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use registry_types::{Algorithm, Digest, DigestHasher};

use super::{Snapshot, SnapshotId, Snapshots};
use crate::compression::{Compression, Decompressor, ExpansionLimits, LayerDigests, LayerWriter};
use crate::error::{At as _, Result, StoreError};
use crate::layer::{DiffOptions, DiffSummary, UnpackOptions, UnpackReport, unpack, write_diff};
use crate::tar::TarWriter;
use crate::tree::TreePath;

/// Uncompressed bytes that go from one thread to the other at once.
const CHUNK: usize = 256 * 1024;
/// Chunks on the way: enough that neither side waits for the other's small pauses.
const CHUNKS: usize = 8;

/// A layer to unpack.
#[derive(Debug, Clone, Copy)]
pub struct LayerToUnpack<'a> {
    /// Snapshot of the layers below.
    pub parent: Option<&'a SnapshotId>,
    /// Snapshot to make.
    pub id: SnapshotId,
    /// What the config says of the uncompressed archive.
    pub diff_id: &'a Digest,
}

impl Snapshots {
    /// Unpacks a layer over its parent and checks its diffID. If the snapshot exists, nothing is read.
    ///
    /// Decompression and hashing run in a thread of their own beside the writing of files. Builds that want the same
    /// layer at once wait for the first.
    pub fn unpack<R: Read + Send>(
        &self,
        layer: LayerToUnpack<'_>,
        open: impl FnOnce() -> Result<R>,
        options: &UnpackOptions,
        expansion: ExpansionLimits,
    ) -> Result<(Snapshot, UnpackReport)> {
        if let Some(snapshot) = self.get(&layer.id)? {
            return Ok((snapshot, UnpackReport::default()));
        }
        let _lock = self.lock(&layer.id)?;
        if let Some(snapshot) = self.get(&layer.id)? {
            return Ok((snapshot, UnpackReport::default()));
        }
        let upper = self.prepare(layer.parent)?;
        let mut tree = upper.tree()?;
        let mut source = open()?;
        let (report, diff_id) = std::thread::scope(|scope| {
            let (full, chunks) = sync_channel(CHUNKS);
            let (returned, empty) = sync_channel(CHUNKS);
            let reader = scope.spawn(move || decompress(&mut source, expansion, &full, &empty));
            let mut archive = Chunks { chunks, returned, chunk: Vec::new(), at: 0 };
            let report = unpack(&mut archive, &mut tree, &TreePath::root(), options);
            // Without a receiver the reader's next chunk ends it.
            drop(archive);
            let diff_id = reader.join().map_err(|_| died());
            Ok::<_, StoreError>((report?, diff_id?))
        })?;
        if diff_id != *layer.diff_id {
            return Err(StoreError::DigestMismatch {
                expected: Box::new(*layer.diff_id),
                actual: Box::new(diff_id),
            });
        }
        tree.finish()?;
        Ok((upper.commit(layer.id)?, report))
    }
}

fn died() -> StoreError {
    StoreError::Archive { entry: String::new(), reason: "the decompression thread ended early".to_owned() }
}

/// Sends the uncompressed content chunk by chunk and returns its digest.
fn decompress(
    source: &mut (dyn Read + Send),
    limits: ExpansionLimits,
    full: &SyncSender<io::Result<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> Digest {
    let mut hasher = DigestHasher::new(Algorithm::Sha256);
    let outcome = Decompressor::new(source, limits).and_then(|mut decompressor| {
        loop {
            let mut chunk = empty.try_recv().unwrap_or_else(|_| Vec::with_capacity(CHUNK));
            chunk.clear();
            decompressor.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                return Ok(());
            }
            hasher.update(&chunk);
            if full.send(Ok(chunk)).is_err() {
                return Ok(());
            }
        }
    });
    if let Err(error) = outcome {
        // A receiver that is gone has an error of its own to tell.
        let _ = full.send(Err(error));
    }
    hasher.finish()
}

/// The reading end.
struct Chunks {
    chunks: Receiver<io::Result<Vec<u8>>>,
    returned: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            match self.chunks.recv() {
                Ok(chunk) => {
                    let spent = std::mem::replace(&mut self.chunk, chunk?);
                    // A full channel means there are buffers enough.
                    let _ = self.returned.try_send(spent);
                    self.at = 0;
                }
                // The sender is done.
                Err(_) => return Ok(0),
            }
        }
        let rest = &self.chunk[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

/// How a layer is made of an upper directory.
#[derive(Debug, Clone, Copy)]
pub struct LayerOptions {
    pub diff: DiffOptions,
    pub compression: Compression,
    /// Compression threads; they never change the bytes.
    pub threads: usize,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self {
            diff: DiffOptions::default(),
            compression: Compression::default(),
            threads: LayerWriter::<io::Sink>::default_threads(),
        }
    }
}

/// Writes what `upper` changes over `lowers` (uppermost first) as a compressed layer into `sink`, in one pass: tar,
/// diffID, compression, blob digest. A summary without entries means that the step changed nothing: drop the sink.
pub fn write_layer<S: Write, P: AsRef<Path>>(
    upper: &Path,
    lowers: &[P],
    options: &LayerOptions,
    sink: S,
) -> Result<(S, LayerDigests, DiffSummary)> {
    let layer = LayerWriter::new(sink, options.compression, options.threads);
    let mut writer = TarWriter::new(layer.at("compressing the layer of", upper)?);
    let summary = write_diff(upper, lowers, options.diff, &mut writer)?;
    let (sink, digests) = writer.finish()?.finish().at("writing the layer of", upper)?;
    Ok((sink, digests, summary))
}
