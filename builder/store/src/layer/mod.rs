//! Layers: what a step changed, as an archive, and archives made into trees again.

mod diff;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
mod unpack;

pub use diff::{DiffOptions, DiffSummary, write_diff, write_tree};
pub use unpack::{AbsoluteNames, DevicePolicy, UnpackLimits, UnpackOptions, UnpackReport, Whiteouts, unpack};

/// Prefix of a name that stands for a removal (image specification, "Whiteouts").
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";
/// A name that hides everything lower layers have in its directory ("Opaque Whiteout").
pub(crate) const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";
