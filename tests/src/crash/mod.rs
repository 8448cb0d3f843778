//! Kills the registry at random moments, starts it again, and compares what it has with what it acknowledged.
//!
//! Every request of the writers is recorded with its begin and end. After a crash a key (a blob, a manifest or a
//! tag of one repository) may have exactly the values that some order of the recorded requests leaves: what was
//! acknowledged is there, what was refused is not, and a request in flight is done or not done, never half.

mod content;
mod failpoints;
mod model;
mod rounds;
mod self_test;
mod server;
mod sessions;
mod tamper;
mod tree;
mod verify;
mod writer;

pub use rounds::{Options, Summary, run};
pub use self_test::self_test;
