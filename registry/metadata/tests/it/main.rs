//! The engines against the suite, against crashes and beside other processes.

mod beside;
mod child;
mod crash;
mod suite;
