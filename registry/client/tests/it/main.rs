//! The client against registries that behave, and against ones that lie, cut, stall and send elsewhere.

#![expect(clippy::unwrap_used, reason = "a helper of a test that panics fails the test")]

mod auth;
mod copy;
mod fake;
mod lists;
mod mount;
mod pull;
mod push;
mod scheme;
mod source;
mod tail;
