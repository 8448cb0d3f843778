//! The HTTP face over the real stores: what goes over the wire, and what hostile peers get.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod hostile;
mod http2;
mod kit;
mod logs;
mod metrics;
mod objects;
mod proxies;
mod refusals;
mod wire;
