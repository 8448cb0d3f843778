//! The one registry client of Slipway: pulls and pushes manifests and blobs by the OCI distribution
//! specification, from and to any registry.
//!
//! Everything that comes back is verified against its digest and length before it is reported done; every
//! transfer can go on after a cut; credentials go to the registry and to the token server it names, nowhere else.
//! [`Source`] reads the same images from an OCI layout, an archive or a registry; [`Copier`] brings them into any of
//! these as a [`Target`].

mod auth;
mod builder;
mod client;
mod copy;
mod credentials;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod host;
mod link;
mod listing;
mod manifest;
mod platform;
mod progress;
mod pull;
mod push;
mod raw;
mod reply;
mod request;
mod retry;
mod secret;
mod source;
mod target;
mod transport;

pub use auth::{Challenge, parse_challenges};
pub use builder::ClientBuilder;
pub use client::{Client, Repository};
pub use copy::{Copier, CopyEvent, CopyOptions, CopyReport};
pub use credentials::{Credential, Credentials};
pub use error::Error;
pub use listing::Page;
pub use manifest::{ImageManifest, Manifest};
pub use platform::select_platform;
pub use progress::{Direction, Progress};
pub use pull::{BlobStream, BlobTail};
pub use push::{BlobContent, Mount};
pub use raw::RawReply;
pub use secret::Secret;
pub use source::{LocalImages, LocalSource, RegistrySource, Source};
pub use target::{ArchiveFormat, ArchiveTarget, LayoutTarget, Target, TargetName};
pub use transport::{Trust, tls_config_blocking};
