//! What can go wrong around a build step, sorted by what the caller can do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::wire::SetupStage;

/// Every failure of this crate.
///
/// A step whose command ran and failed is not an error: it is a [`StepStatus`](crate::StepStatus).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The step description cannot be carried out as written; the caller must change it.
    #[error("the step cannot be run as described: {reason}")]
    InvalidSpec {
        /// Which part is wrong and what it must be.
        reason: String,
    },

    /// The machine (kernel setting, container runtime, security module) refuses what isolation needs.
    #[error("build steps cannot be isolated here: {stage} failed: {detail}; {advice}")]
    Unavailable {
        /// Which part of the set-up was refused.
        stage: SetupStage,
        /// What was tried and the system's answer.
        detail: String,
        /// The setting that mends it.
        advice: String,
    },

    /// The set-up failed for a reason that lies in the step's own root file system or paths.
    #[error("the build step could not be prepared: {stage} failed: {detail}")]
    Setup {
        /// Which part of the set-up failed.
        stage: SetupStage,
        /// What was tried and the system's answer.
        detail: String,
    },

    /// The user or group of a step or of `--chown` does not exist in the root file system.
    #[error(
        "{kind} {name:?} is not known: {database} of the image has no such entry; add it in an earlier step or use a numeric id"
    )]
    UnknownUser {
        /// `user` or `group`.
        kind: &'static str,
        /// The name as given.
        name: String,
        /// The file searched, seen from inside the image.
        database: &'static str,
    },

    /// `NAME:GROUP` text that is neither names nor ids.
    #[error("{text:?} is not a user: expected NAME, UID, NAME:GROUP or UID:GID, ids at most 4294967294")]
    InvalidUser {
        /// The text as given.
        text: String,
    },

    /// The command was not started: not found, not executable, wrong architecture.
    #[error("{program:?} was not started: {reason}")]
    NotStarted {
        /// The first word of the command.
        program: String,
        /// Why, with the `PATH` searched where that matters.
        reason: String,
        /// What a shell would give as exit code: 127 for not found, 126 otherwise.
        exit_code: i32,
    },

    /// The caller's [`CancelToken`](crate::CancelToken) ended the step.
    #[error("the step was cancelled")]
    Cancelled,

    /// The step's time limit passed.
    #[error("the step was ended after its time limit of {} s", limit.as_secs_f64())]
    TimedOut {
        /// The limit that was set.
        limit: Duration,
    },

    /// The helper process that holds the step died without a report, for instance by the OOM killer.
    #[error(
        "the process that supervises the step ended without a report ({detail}); was it killed or out of memory"
    )]
    SupervisorLost {
        /// How it ended.
        detail: String,
    },

    /// [`enter_builder_namespace`](crate::enter_builder_namespace) was called after threads were started.
    #[error("the builder namespace must be entered before the process starts threads (it has {count})")]
    Threads {
        /// Threads counted.
        count: usize,
    },

    /// A function that mounts was called outside of the builder namespace, where it could leak a mount.
    #[error("{what} needs the builder namespace; call enter_builder_namespace first")]
    NotInBuilderNamespace {
        /// What was asked for.
        what: &'static str,
    },

    /// A file or directory of the builder itself failed.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// A system call failed that fails only when the system is out of some resource.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

impl RuntimeError {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: path.into(), source: source.into() }
    }

    pub(crate) fn system(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System { action, source: source.into() }
    }

    pub(crate) fn invalid_spec(reason: impl Into<String>) -> Self {
        Self::InvalidSpec { reason: reason.into() }
    }
}
