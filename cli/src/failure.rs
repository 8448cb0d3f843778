//! Failures and their exit codes, the same for every command (`slipway --help` lists them).

use std::process::ExitCode;

use tokio::signal::unix::SignalKind;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked for could not be done.
    #[error("{0}")]
    Failed(String),
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// A registry refused the credentials or the action.
    #[error("{0}")]
    Unauthorized(String),
    /// Something named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// A signal ended it, in order.
    #[error("the build was cancelled")]
    Signalled(SignalKind),
}

/// Shown under `slipway --help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done, and verified
  1  failed; the message says what and how to mend it
  2  the command line or the configuration is wrong
  3  a registry refused the credentials or the action
  4  a named thing does not exist
  130, 143  ended by SIGINT or SIGTERM";

/// The exit code of a program that a signal ended, as shells give it.
pub(crate) fn exit_code_of_signal(signal: SignalKind) -> u8 {
    /// What shells add to the number of a signal.
    const SIGNALLED: u8 = 128;
    u8::try_from(signal.as_raw_value()).map_or(SIGNALLED, |number| SIGNALLED.saturating_add(number))
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unauthorized(_) => 3,
            Self::NotFound(_) => 4,
            Self::Signalled(signal) => exit_code_of_signal(*signal),
        })
    }
}

impl Failure {
    /// The same failure, told in other words.
    pub(crate) fn with(self, words: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(words(&text)),
            Self::Usage(text) => Self::Usage(words(&text)),
            Self::Unauthorized(text) => Self::Unauthorized(words(&text)),
            Self::NotFound(text) => Self::NotFound(words(&text)),
            Self::Signalled(signal) => Self::Signalled(signal),
        }
    }

    /// What a registry's answer means for the exit code, told by `message`.
    pub(crate) fn of_registry(error: &registry_client::Error, message: String) -> Self {
        use registry_client::Error;
        match error {
            Error::Unauthorized { .. } | Error::Denied { .. } => Self::Unauthorized(message),
            Error::NotFound { .. } | Error::PlatformMissing { .. } => Self::NotFound(message),
            Error::InsecureRefused { .. } | Error::Setting { .. } | Error::Malformed(_) => {
                Self::Usage(message)
            }
            _ => Self::Failed(message),
        }
    }
}

impl From<registry_client::Error> for Failure {
    fn from(error: registry_client::Error) -> Self {
        Self::of_registry(&error, error.to_string())
    }
}

/// A runtime for one command.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))
}
