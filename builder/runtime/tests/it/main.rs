//! Steps that really run, started the way the command line starts them: as root, as a container's root, as an
//! ordinary user with and without subordinate ids, and where `/proc` is masked.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking, like the test itself")]

mod cleanup;
mod command;
mod isolation;
mod kit;
mod layers;
mod namespaces;
mod traces;
