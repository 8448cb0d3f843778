//! The program as a user starts it: what it prints and what it exits with.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test by panicking, like the test itself")]

mod arguments;
mod exit_codes;
mod kit;
mod signals;
mod storage;
