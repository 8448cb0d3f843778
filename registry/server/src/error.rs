//! Why a server does not start.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is wrong; the message names key and mend.
    #[error("{0}")]
    Config(String),
    #[error("there is no account {name}: add it first with `slipway registry user add {name}`")]
    UnknownAccount { name: registry_types::AccountName },
    #[error("cannot {action} {path}: {source}")]
    Data { action: &'static str, path: PathBuf, source: std::io::Error },
    /// Another server uses the data folder.
    #[error("the data folder {path} is in use: {reason}")]
    Locked { path: PathBuf, reason: String },
    #[error("cannot listen on {address}: {source}; give another address with {option}")]
    Listen { address: String, option: &'static str, source: std::io::Error },
    #[error(transparent)]
    Metadata(#[from] registry_metadata::MetadataError),
    #[error(transparent)]
    Blobs(#[from] registry_blobs::BlobError),
    #[error(transparent)]
    Policies(#[from] registry_core::CoreError),
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error("cannot collect garbage: {0}")]
    Collection(String),
    #[error("cannot set up tokens: {0}")]
    Tokens(String),
}
