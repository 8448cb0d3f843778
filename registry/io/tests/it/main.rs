//! The bodies under a real hyper server, and by themselves.

mod bodies;
mod kit;
mod zero_copy;
