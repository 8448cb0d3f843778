//! A client that hides nothing: each request is one connection, sent as told; each answer is read whole. It
//! gets tokens as clients do, from where the registry's challenge points.

mod answer;
mod connection;
mod request;
mod session;
mod wire;

pub(crate) use answer::Answer;
pub(crate) use request::{Request, repository_scope};
pub(crate) use session::Session;

/// Why an exchange did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("{what}: {reason}")]
    Exchange { what: String, reason: String },
    #[error("no token for {scopes}: {reason}")]
    Token { scopes: String, reason: String },
}
