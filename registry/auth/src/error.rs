//! What can go wrong with keys, configuration and passwords: one variant for each thing a caller can mend.
//! No message holds a secret. Why a token is refused is told by [`TokenError`](crate::TokenError) instead.

use std::{io, path::PathBuf};

/// Why keys, configuration or a password cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("{what} cannot be used: {reason}")]
    Key { what: String, reason: &'static str },
    #[error("the signing keys in {path} cannot be {doing}: {source}")]
    KeyFile { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(
        "the signing key {path} can be read by others (mode {mode:04o}): run `chmod 600` on it, and make a new \
         key if it may have been copied"
    )]
    KeyFileExposed { path: PathBuf, mode: u32 },
    #[error("the certificate bundle cannot be used: {reason}")]
    Bundle { reason: String },
    #[error(
        "the {what} {text:?} cannot stand in a challenge: use printable ASCII without quotes and backslashes"
    )]
    ChallengeText { what: &'static str, text: String },
    #[error("the password hash cannot be used: {reason}")]
    PasswordHash { reason: &'static str },
    #[error("the password cannot be used: {reason}")]
    Password { reason: &'static str },
    #[error("the system's cryptography failed: {doing}")]
    Cryptography { doing: &'static str },
}
