//! The parsers that meet the network, one target each: bytes in, and a panic where a parser panics or breaks
//! what its documentation promises. The same functions run under libFuzzer (`cargo xtask fuzz`) and, over the
//! seeds and their mutations, in every test run.

mod targets;

use std::path::{Path, PathBuf};

/// A parser, with what it promises.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Also the name of the folder of its seeds.
    pub name: &'static str,
    /// Panics when `input` shows a fault.
    pub run: fn(input: &[u8]),
}

/// All of them, by name.
pub const TARGETS: &[Target] = &[
    Target { name: "answer", run: targets::answer::run },
    Target { name: "claims", run: targets::claims::run },
    Target { name: "credentials", run: targets::credentials::run },
    Target { name: "headers", run: targets::headers::run },
    Target { name: "manifest", run: targets::manifest::run },
    Target { name: "names", run: targets::names::run },
    Target { name: "page", run: targets::page::run },
    Target { name: "path", run: targets::path::run },
    Target { name: "range", run: targets::range::run },
    Target { name: "scope", run: targets::scope::run },
    Target { name: "token", run: targets::token::run },
    Target { name: "token-request", run: targets::token_request::run },
];

impl Target {
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().find(|target| target.name == name).copied()
    }

    /// The folder of its seeds, in the source tree.
    pub fn seeds(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(self.name)
    }
}
