//! Local store of the builder: content by digest, snapshots, and the way between a file tree and a layer.
//!
//! A tree becomes a deterministic tar archive, compressed in parallel and hashed in the same pass; a layer becomes a
//! snapshot directory that an overlay mount can use. Everything that enters from outside is unpacked relative to
//! directory handles, so no name or link leads out of its root.

pub mod checksum;
pub mod compression;
pub mod copy;
mod error;
pub mod layer;
pub mod store;
pub mod tar;
#[cfg(test)]
mod testing;
pub mod tree;

pub use error::{Result, StoreError};
pub use store::Store;
