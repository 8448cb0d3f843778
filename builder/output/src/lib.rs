//! Where a built image goes: registries, OCI layouts, archives for `docker load`, names in the local store, several
//! of them at once.
//!
//! [`ImageDefinition`] writes the manifest, the same bytes for the same image. [`Outputs`] takes layers while
//! the build still runs and the image at its end; a layer of a base image travels only where it has to.

mod archive;
mod definition;
mod destination;
mod error;
mod event;
mod fetch;
mod image;
mod layout;
mod metadata;
mod outputs;
mod push;

pub use definition::ImageDefinition;
pub use destination::{Destination, FileFormat, FileTarget};
pub use error::{OutputError, Result};
pub use event::{OutputEvent, OutputEvents};
pub use fetch::BlobFetcher;
pub use image::{BlobOrigin, BuiltImage, ImageLayer};
pub use metadata::{metadata_json, write_digest_file, write_metadata_file};
pub use outputs::{OutputResult, Outputs};
pub use push::PushedTag;
