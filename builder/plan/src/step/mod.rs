//! What is executed: steps with every variable expanded.

mod chmod;
mod ownership;

use builder_dockerfile::Span;

pub use chmod::Chmod;
pub use ownership::{Ownership, Principal};

use crate::graph::CopyFrom;

/// One instruction of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub kind: StepKind,
    /// The instruction as written, continuation lines joined.
    pub text: String,
    /// The instruction, or the `FROM` for a trigger of its base image.
    pub span: Span,
    /// Counted from one.
    pub line: usize,
    /// From `ONBUILD` of the base.
    pub trigger: bool,
}

impl Step {
    /// Whether the step makes a layer. Each that does has one history entry that is not empty, in the same order.
    pub fn makes_layer(&self) -> bool {
        !matches!(self.kind, StepKind::Config)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepKind {
    Run(RunStep),
    /// `COPY` and `ADD`.
    Copy(Box<CopyStep>),
    Workdir(WorkdirStep),
    /// Changes only the config, which is already done.
    Config,
}

/// A process to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunStep {
    /// The program and its arguments, the shell included.
    pub arguments: Vec<String>,
    /// Variables of the image and declared arguments.
    pub environment: Vec<(String, String)>,
    /// Proxy variables, which are not part of the key. Those also in `environment` are already left out.
    pub proxies: Proxies,
    /// Absolute.
    pub working_directory: String,
    /// `user[:group]`, names or numbers; empty for root.
    pub user: String,
    /// A script to put in place for this step only.
    pub file: Option<RunFile>,
}

/// Proxy variables. Their values often hold passwords, so printing them for debugging shows the names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Name and value.
    pub variables: Vec<(String, String)>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.variables.iter().map(|(name, _)| name)).finish()
    }
}

/// A here-document that starts with `#!` and is run as a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// Absolute; shall not appear in the layer. Its mode is 0755, its owner root.
    pub path: String,
    pub content: String,
}

/// Files to put in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStep {
    pub from: CopyFrom,
    /// Copied before `files`, in this order.
    pub paths: Vec<CopyPath>,
    pub files: Vec<CopyFile>,
    /// Absolute, without `.`, `..` and a slash at the end.
    pub destination: String,
    /// The destination was written as a directory: a file goes into it under its own name.
    pub into_directory: bool,
    /// If not given, files of the context, here-documents and what is made on the way are root's; files of a stage or
    /// an image keep their owner, and entries of an unpacked archive the archive's.
    pub ownership: Option<Ownership>,
    pub chmod: Option<Chmod>,
    /// Archives among the sources are unpacked.
    pub unpack: bool,
}

/// A source in the context, a stage or an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPath {
    /// Absolute from the root of where it comes from, without `.`, `..` and a slash at the end; may hold wildcards
    /// as `builder_dockerfile::Wildcard` reads them.
    pub pattern: String,
    /// The path, when there are no wildcards in it. Then it must exist; a pattern may match nothing.
    pub literal: Option<String>,
}

/// A here-document that becomes a file of mode 0644.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFile {
    pub name: String,
    pub content: String,
}

/// A directory to create if it is not there, with its parents, mode 0755.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkdirStep {
    /// Absolute; as written, so it may hold `..`.
    pub path: String,
    /// Owner of what is created; empty for root.
    pub user: String,
}
