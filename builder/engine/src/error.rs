//! Why a build failed: what happened, in which line of the Dockerfile, and how to mend it.

use std::io;
use std::path::PathBuf;

use builder_output::OutputError;
use builder_runtime::{RuntimeError, StepStatus};
use builder_store::StoreError;

/// Result of every fallible function of this crate.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The Dockerfile is malformed or cannot be planned. The text shows the line, the place in it and the mend.
    #[error("{0}")]
    Dockerfile(String),
    /// A file of the build (context, Dockerfile, ignore file) cannot be read.
    #[error("{action} {}: {source}{hint}", .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error, hint: &'static str },
    /// The ignore file is malformed.
    #[error("{}: {reason}", .path.display())]
    IgnoreFile { path: PathBuf, reason: String },
    /// An option of the build cannot be honoured.
    #[error("{option} {reason}")]
    Option { option: &'static str, reason: String },
    /// Warnings, in a build that takes them for errors.
    #[error("{}; --strict makes that an error", .0.join("; "))]
    Warnings(Vec<String>),
    /// A base image cannot be had.
    #[error("{dockerfile}:{line}: the image {reference} cannot be used: {problem}{hint}")]
    BaseImage { dockerfile: String, line: usize, reference: String, problem: Box<ImageProblem>, hint: String },
    /// A step failed.
    #[error("{dockerfile}:{line}: {instruction}: {problem}")]
    Step { dockerfile: String, line: usize, instruction: String, problem: Box<StepProblem> },
    /// Steps cannot be run on this machine.
    #[error(transparent)]
    Runtime(Box<RuntimeError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Output(#[from] OutputError),
    /// [`Cancel::cancel`](crate::Cancel::cancel) was called.
    #[error("the build was cancelled")]
    Cancelled,
    /// A part of the program ended early.
    #[error("{what} ended early: {reason}")]
    Interrupted { what: &'static str, reason: String },
}

/// Why an image cannot be built on or copied from.
#[derive(Debug, thiserror::Error)]
pub enum ImageProblem {
    /// Its registry does not give it.
    #[error(transparent)]
    Registry(#[from] registry_client::Error),
    /// The local store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is there and is nothing to build on.
    #[error("{0}")]
    Unusable(String),
    #[error(transparent)]
    Other(Box<EngineError>),
}

/// What went wrong in a step.
#[derive(Debug, thiserror::Error)]
pub enum StepProblem {
    /// The command ran and failed.
    #[error("the command failed: {status}")]
    Failed {
        status: StepStatus,
        /// The last lines that it wrote, both streams together.
        last_lines: Vec<String>,
    },
    /// The command could not be run, or a user is not known.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Files could not be copied, read or made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer that the step needs could not be fetched.
    #[error(transparent)]
    Fetch(#[from] OutputError),
    #[error("{0}")]
    Other(Box<EngineError>),
}

impl EngineError {
    /// The exit code of the command that failed, as a shell would give it; `None` if no command did.
    pub fn exit_code(&self) -> Option<i32> {
        /// What shells add to the number of a signal.
        const SIGNALLED: i32 = 128;
        let Self::Step { problem, .. } = self else { return None };
        match &**problem {
            StepProblem::Failed { status: StepStatus::Exited(code), .. } => Some(*code),
            StepProblem::Failed { status: StepStatus::Signalled(signal), .. } => Some(SIGNALLED + signal),
            StepProblem::Runtime(RuntimeError::NotStarted { exit_code, .. }) => Some(*exit_code),
            _ => None,
        }
    }

    /// The line of the Dockerfile that failed, counted from one.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Step { line, .. } | Self::BaseImage { line, .. } => Some(*line),
            _ => None,
        }
    }

    /// The registry's part in it: what its client told, wherever in the build that was.
    pub fn registry_error(&self) -> Option<&registry_client::Error> {
        match self {
            Self::BaseImage { problem, .. } => match &**problem {
                ImageProblem::Registry(error) => Some(error),
                ImageProblem::Other(error) => error.registry_error(),
                ImageProblem::Store(_) | ImageProblem::Unusable(_) => None,
            },
            Self::Step { problem, .. } => match &**problem {
                StepProblem::Fetch(error) => error.registry_error(),
                StepProblem::Other(error) => error.registry_error(),
                _ => None,
            },
            Self::Output(error) => error.registry_error(),
            _ => None,
        }
    }

    /// The last lines of output of the command that failed.
    pub fn last_lines(&self) -> &[String] {
        match self {
            Self::Step { problem, .. } => match &**problem {
                StepProblem::Failed { last_lines, .. } => last_lines,
                _ => &[],
            },
            _ => &[],
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { action, path: path.into(), source, hint: "" }
    }

    pub(crate) fn interrupted(what: &'static str) -> impl FnOnce(tokio::task::JoinError) -> Self {
        move |error| Self::Interrupted { what, reason: error.to_string() }
    }
}

impl From<EngineError> for ImageProblem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => Self::Store(error),
            other => Self::Other(Box::new(other)),
        }
    }
}

/// A problem of a step that is really the end of the whole build stays what it is.
impl From<EngineError> for StepProblem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => Self::Store(error),
            EngineError::Output(error) => Self::Fetch(error),
            EngineError::Runtime(error) => Self::Runtime(*error),
            EngineError::Cancelled => Self::Runtime(RuntimeError::Cancelled),
            other => Self::Other(Box::new(other)),
        }
    }
}
