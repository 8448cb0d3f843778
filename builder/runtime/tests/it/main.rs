//! Steps that really run, started the way the command line starts them: as root, as a container's root, as an
//! ordinary user with and without subordinate ids, and where `/proc` is masked.

mod cleanup;
mod command;
mod isolation;
mod kit;
mod layers;
mod namespaces;
mod traces;
