//! The engines against the suite, against crashes and beside other processes.

mod suite;
