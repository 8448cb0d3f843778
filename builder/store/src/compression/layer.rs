//! The way of a layer's bytes: tar in, hash (diffID), blocks, compression, hash (blob digest), sink. One pass, so a
//! layer is never read twice, and the sink may be a file, a socket or both.

use std::io::{self, Write};

use registry_types::{Algorithm, Descriptor, Digest, DigestHasher};

use super::Compression;
use super::block::BLOCK_SIZE;
use super::pool::{Job, Pool};

/// What one pass over a layer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerDigests {
    /// sha256 of the uncompressed archive (image specification, "Layer DiffID").
    pub diff_id: Digest,
    /// Bytes of the uncompressed archive.
    pub diff_size: u64,
    /// sha256 of what reached the sink.
    pub digest: Digest,
    /// Bytes that reached the sink.
    pub size: u64,
    compression: Compression,
}

impl LayerDigests {
    /// The layer as it stands in a manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.compression.media_type(), self.digest, self.size)
    }
}

/// A sink for an uncompressed tar archive.
#[derive(Debug)]
pub struct LayerWriter<S> {
    sink: S,
    compression: Compression,
    /// Absent if nothing is compressed.
    pool: Option<Pool>,
    block: Vec<u8>,
    /// Buffers that came back from the workers.
    spare: Vec<Job>,
    wrote_block: bool,
    /// Of what was not compressed; the pool hashes the rest.
    diff: DigestHasher,
    blob: DigestHasher,
}

impl<S: Write> LayerWriter<S> {
    /// Threads a layer is compressed with unless the caller says otherwise.
    pub fn default_threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    /// A layer into `sink`, compressed by `threads` workers (their number never changes the bytes) beside
    /// one that hashes.
    pub fn new(sink: S, compression: Compression, threads: usize) -> io::Result<Self> {
        let pool = match compression {
            Compression::None => None,
            _ => Some(Pool::start(compression, threads)?),
        };
        Ok(Self {
            sink,
            compression,
            pool,
            block: Vec::with_capacity(BLOCK_SIZE),
            spare: Vec::new(),
            wrote_block: false,
            diff: DigestHasher::new(Algorithm::Sha256),
            blob: DigestHasher::new(Algorithm::Sha256),
        })
    }

    /// Ends the stream and gives the sink back with what is known of the layer.
    pub fn finish(mut self) -> io::Result<(S, LayerDigests)> {
        if self.pool.is_some() {
            // Even an empty layer is one block, since no bytes at all are no gzip stream.
            if !self.block.is_empty() || !self.wrote_block {
                self.send_block()?;
            }
            while self.take_block()? {}
        }
        if let Some(pool) = self.pool.take() {
            self.diff = pool.finish()?;
        }
        self.sink.flush()?;
        let digests = LayerDigests {
            diff_size: self.diff.length(),
            diff_id: self.diff.finish(),
            size: self.blob.length(),
            digest: self.blob.finish(),
            compression: self.compression,
        };
        Ok((self.sink, digests))
    }

    fn send_block(&mut self) -> io::Result<()> {
        if self.pool.as_ref().is_some_and(Pool::is_full) {
            self.take_block()?;
        }
        let mut job = self.spare.pop().unwrap_or_default();
        job.block.clear();
        std::mem::swap(&mut job.block, &mut self.block);
        self.block.reserve_exact(BLOCK_SIZE);
        self.wrote_block = true;
        match &mut self.pool {
            Some(pool) => pool.send(job),
            None => Ok(()),
        }
    }

    /// Writes the oldest block to the sink; `false` if none is under way.
    fn take_block(&mut self) -> io::Result<bool> {
        let Some(job) = self.pool.as_mut().map(Pool::take).transpose()?.flatten() else { return Ok(false) };
        self.blob.update(job.compressed());
        self.sink.write_all(job.compressed())?;
        self.spare.push(job);
        Ok(true)
    }
}

impl<S: Write> Write for LayerWriter<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pool.is_none() {
            let count = self.sink.write(bytes)?;
            self.diff.update(&bytes[..count]);
            self.blob.update(&bytes[..count]);
            return Ok(count);
        }
        let count = bytes.len().min(BLOCK_SIZE - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK_SIZE {
            self.send_block()?;
        }
        Ok(count)
    }

    /// Blocks have a fixed size, so nothing is forced out before its time.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
