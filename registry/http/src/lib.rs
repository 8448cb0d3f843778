//! The registry's HTTP face: one listener for HTTP and TLS, a router that reads paths from the right, one
//! handler file per endpoint group, one table from errors to statuses.
//!
//! Nothing here decides who may do what (`registry-auth`) or in which order things become durable
//! (`registry-core`).

mod accept;
mod activity;
mod authentication;
mod body;
mod caller;
mod connection;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod handlers;
mod incoming_body;
mod ip_network;
mod metrics;
mod mirrored;
mod opening;
mod pace;
mod patient_stream;
mod places;
mod query;
mod readiness;
mod redirects;
mod request_body;
mod request_id;
mod request_log;
mod respond;
mod room;
mod route;
mod server;
mod service;
mod span;
mod tls;
mod token_server;

pub use authentication::Authenticator;
pub use ip_network::{IpNetwork, NotANetwork};
pub use redirects::{RedirectException, Redirects};
pub use server::{HttpSettings, ListenerTls, Monitoring, serve};
pub use tls::{TlsError, server_config};
pub use token_server::TokenServer;
