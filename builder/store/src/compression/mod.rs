//! Compression of layers: block-parallel writing with the same bytes at any number of threads, and bounded reading of
//! every compression that images and ADD archives come in.

mod block;
mod layer;
mod pool;
mod read;
#[cfg(test)]
mod tests;

pub use layer::{LayerDigests, LayerWriter};
pub use read::{ArchiveFormat, Decompressor, ExpansionLimits};

use registry_types::MediaType;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    /// DEFLATE level 0 to 12 (libdeflate's scale).
    Gzip {
        level: u8,
    },
    /// Zstandard level 1 to 19.
    Zstd {
        level: u8,
    },
}

impl Compression {
    /// Level 1 gives layers about 6 % larger than what Docker's level 6 gives, at more than twice the speed; a build
    /// waits for compression longer than for the upload of the difference.
    pub const DEFAULT_GZIP_LEVEL: u8 = 1;
    /// Zstandard's own default.
    pub const DEFAULT_ZSTD_LEVEL: u8 = 3;
    const HIGHEST_GZIP_LEVEL: u8 = 12;
    /// Higher levels need windows that some readers refuse.
    const HIGHEST_ZSTD_LEVEL: u8 = 19;

    /// Gzip at a level, or `None` if the level is above 12.
    pub fn gzip(level: u8) -> Option<Self> {
        (level <= Self::HIGHEST_GZIP_LEVEL).then_some(Self::Gzip { level })
    }

    /// Zstandard at a level, or `None` if the level is not 1 to 19.
    pub fn zstd(level: u8) -> Option<Self> {
        (1..=Self::HIGHEST_ZSTD_LEVEL).contains(&level).then_some(Self::Zstd { level })
    }

    /// The OCI media type of a layer compressed so.
    pub fn media_type(self) -> MediaType {
        MediaType::known(match self {
            Self::None => MediaType::OCI_LAYER,
            Self::Gzip { .. } => MediaType::OCI_LAYER_GZIP,
            Self::Zstd { .. } => MediaType::OCI_LAYER_ZSTD,
        })
    }
}

impl Default for Compression {
    fn default() -> Self {
        Self::Gzip { level: Self::DEFAULT_GZIP_LEVEL }
    }
}
