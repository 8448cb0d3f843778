//! The engines against the suite, against crashes and beside other processes.

#![expect(clippy::unwrap_used, reason = "a test that meets an error fails")]

mod beside;
mod child;
mod crash;
mod postgres;
mod suite;
