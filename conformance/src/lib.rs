//! The official distribution suite and our own checks, run and read.
