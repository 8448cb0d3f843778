//! Compresses one block into a stream of its own: a gzip member (RFC 1952 section 2.2) or a Zstandard frame (RFC 8878
//! section 3.1). A layer is the concatenation of its blocks' streams, which both formats define as one stream.
//!
//! Members rather than one member of flushed DEFLATE blocks: libdeflate, half again as fast as zlib at these levels,
//! only makes whole members, and layers of many members are pulled every day (every eStargz layer is one) by docker,
//! containerd, podman, skopeo, crane and kaniko, whose gzip readers all go on after a member. Each member carries its
//! own checksum, so damage is found within a block.

use std::io;

use libdeflater::{CompressionLvl, Compressor};

use super::Compression;

/// Bytes of one block before compression. It fixes the output, so changing it changes every layer's digest. At 1 MiB
/// the window lost at block borders costs under 0.5 % of size, and a worker holds 2 MiB.
pub(super) const BLOCK_SIZE: usize = 1024 * 1024;

/// A compressor that one worker keeps for all its blocks.
pub(super) enum BlockCompressor {
    Gzip(Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl BlockCompressor {
    /// `None` if nothing is to be compressed.
    pub(super) fn new(compression: Compression) -> io::Result<Option<Self>> {
        match compression {
            Compression::None => Ok(None),
            Compression::Gzip { level } => {
                let level = CompressionLvl::new(i32::from(level))
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "gzip levels are 0 to 12"))?;
                Ok(Some(Self::Gzip(Compressor::new(level))))
            }
            Compression::Zstd { level } => {
                let mut compressor = zstd::bulk::Compressor::new(i32::from(level))?;
                compressor.include_checksum(true)?;
                Ok(Some(Self::Zstd(compressor)))
            }
        }
    }

    /// Compresses `block` into the first bytes of `room`, which grows as needed and never shrinks; returns how many.
    pub(super) fn compress(&mut self, block: &[u8], room: &mut Vec<u8>) -> io::Result<usize> {
        let bound = match self {
            Self::Gzip(compressor) => compressor.gzip_compress_bound(block.len()),
            Self::Zstd(_) => zstd::zstd_safe::compress_bound(block.len()),
        };
        if room.len() < bound {
            room.resize(bound, 0);
        }
        match self {
            Self::Gzip(compressor) => compressor.gzip_compress(block, room).map_err(io::Error::other),
            Self::Zstd(compressor) => compressor.compress_to_buffer(block, &mut room[..]),
        }
    }
}
