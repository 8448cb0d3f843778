//! The official suite of the distribution specification: found, run with every option on, and read. Its exit
//! code counts for nothing (it is 0 even when the configuration could not be read); its results file does.

mod program;
mod results;
mod skips;

pub(crate) use program::{Run, find, run};
pub(crate) use results::read;

/// How to install the suite: the version that this reader was made for.
pub const INSTALL: &str =
    "go install github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111";

/// A version of the specification that the suite can hold a registry to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecVersion {
    /// The released 1.1.
    V1_1,
    /// The development head after 1.1.
    Dev,
}

impl SpecVersion {
    pub const ALL: [Self; 2] = [Self::V1_1, Self::Dev];

    /// The name that the suite knows it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1_1 => "1.1",
            Self::Dev => "dev",
        }
    }
}
