//! Reads compressed streams without trusting them: the format is told by content, memory is bounded, and a stream that
//! unfolds beyond the limits is cut off with an error.

use std::fmt;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// Compressed bytes that are read at once.
const INPUT_BUFFER: usize = 128 * 1024;
/// Bytes that tell the format.
const MAGIC_LENGTH: usize = 6;
/// Most memory of an xz stream, in bytes: four times what `xz -9` asks for.
const XZ_MEMORY: u64 = 256 * 1024 * 1024;
/// Largest window of a Zstandard stream as a power of two: 128 MiB, what the reference reader takes by default.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveFormat {
    Plain,
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl ArchiveFormat {
    /// Tells the format by the first bytes of the content; what is none of the compressed ones is plain.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A Zstandard stream may open with a skippable frame.
            [kind, 0x2a, 0x4d, 0x18, ..] if *kind & 0xf0 == 0x50 => Self::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            _ => Self::Plain,
        }
    }
}

/// Bounds on what a stream may unfold to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpansionLimits {
    /// Bytes after decompression.
    pub total: u64,
    /// Bytes that one compressed byte may become, on average, beyond [`ExpansionLimits::RATIO_FREE`].
    pub ratio: u64,
}

impl ExpansionLimits {
    /// Larger than any image seen in practice.
    pub const TOTAL: u64 = 1 << 40;
    /// DEFLATE cannot go beyond 1032; what does is Zstandard or bzip2 on content made for it.
    pub const RATIO: u64 = 1100;
    /// Bytes that any stream may give whatever its ratio: files of zeros are common and harmless.
    pub const RATIO_FREE: u64 = 1 << 30;
}

impl Default for ExpansionLimits {
    fn default() -> Self {
        Self { total: Self::TOTAL, ratio: Self::RATIO }
    }
}

/// The uncompressed content of a stream of any known format.
pub struct Decompressor<'a> {
    decoder: Box<dyn Read + Send + 'a>,
    format: ArchiveFormat,
    consumed: Arc<AtomicU64>,
    produced: u64,
    limits: ExpansionLimits,
}

type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, Counted<R>>>;

impl<'a> Decompressor<'a> {
    /// Reads the first bytes of `source` to tell its format.
    pub fn new<R: Read + Send + 'a>(mut source: R, limits: ExpansionLimits) -> io::Result<Self> {
        let mut start = Vec::with_capacity(MAGIC_LENGTH);
        source.by_ref().take(MAGIC_LENGTH as u64).read_to_end(&mut start)?;
        let format = ArchiveFormat::detect(&start);
        let consumed = Arc::new(AtomicU64::new(start.len() as u64));
        let counted = Counted { source, count: Arc::clone(&consumed) };
        let input: Input<R> = BufReader::with_capacity(INPUT_BUFFER, Cursor::new(start).chain(counted));
        Ok(Self { decoder: decoder(format, input)?, format, consumed, produced: 0, limits })
    }

    pub fn format(&self) -> ArchiveFormat {
        self.format
    }
}

fn decoder<'a, I: BufRead + Send + 'a>(
    format: ArchiveFormat,
    input: I,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match format {
        ArchiveFormat::Plain => Box::new(input),
        ArchiveFormat::Gzip => Box::new(MultiGzDecoder::new(input)),
        ArchiveFormat::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        ArchiveFormat::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        ArchiveFormat::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(input, stream))
        }
    })
}

impl Read for Decompressor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.decoder.read(buffer)?;
        self.produced += count as u64;
        if self.produced > self.limits.total {
            return Err(too_large(format!(
                "it unfolds to more than {} bytes; raise the limit if you trust it",
                self.limits.total
            )));
        }
        let allowed = self.consumed.load(Ordering::Relaxed).saturating_mul(self.limits.ratio);
        if self.produced > ExpansionLimits::RATIO_FREE && self.produced > allowed {
            return Err(too_large(format!(
                "it unfolds to more than {} times its size; raise the limit if you trust it",
                self.limits.ratio
            )));
        }
        Ok(count)
    }
}

impl fmt::Debug for Decompressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("format", &self.format)
            .field("produced", &self.produced)
            .finish_non_exhaustive()
    }
}

fn too_large(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, reason)
}

struct Counted<R> {
    source: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
