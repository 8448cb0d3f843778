//! Domain types of the OCI distribution and image specifications.
//!
//! Text from the network becomes one of these types at the border or is refused there; inside the product
//! nothing is a bare string. No IO, no async: every function is pure.

mod access;
mod blob_location;
mod byte_range;
mod descriptor;
mod digest;
mod error_code;
pub mod exact_json;
mod hasher;
mod image_reference;
mod manifest;
mod media_type;
mod path_prefix;
mod reference;
mod repository_name;
mod tag_pattern;
mod upload_id;
mod upload_progress;

pub use access::{AccessRule, AccountKind, AccountName, Action, ActionSet, PathPattern, Subject};
pub use blob_location::{BlobLocation, ObjectKey};
pub use byte_range::{ByteRange, ContentRange, RangeError};
pub use descriptor::{Descriptor, Platform};
pub use digest::{Algorithm, Digest};
pub use error_code::{ErrorCode, ErrorEntry, ErrorEnvelope};
pub use hasher::{DigestHasher, HashState};
pub use image_reference::{DEFAULT_TAG, DOCKER_HUB, ImageReference, RegistryHost};
pub use manifest::{ManifestKind, ManifestView};
pub use media_type::MediaType;
pub use path_prefix::PathPrefix;
pub use reference::{Reference, Tag};
pub use repository_name::RepositoryName;
pub use tag_pattern::TagPattern;
pub use upload_id::UploadId;
pub use upload_progress::UploadProgress;

/// Why a text is not one of the types of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("{text:?} is not a digest: {reason}")]
    Digest { text: String, reason: &'static str },
    #[error("{algorithm:?} is not a digest algorithm this registry knows: use sha256 or sha512")]
    Algorithm { algorithm: String },
    #[error("{text:?} is not a repository name: {reason}")]
    RepositoryName { text: String, reason: &'static str },
    #[error(
        "{text:?} is not a tag: use at most 128 of A-Z a-z 0-9 _ . - and start with a letter, a digit or _"
    )]
    Tag { text: String },
    #[error("{text:?} is not an image reference: {reason}")]
    ImageReference { text: String, reason: String },
    #[error("{text:?} is not a media type: use the form type/subtype of RFC 6838")]
    MediaType { text: String },
    #[error("{text:?} is not an upload session id")]
    UploadId { text: String },
    #[error(
        "{text:?} is not an account name: use at most 64 of a-z A-Z 0-9 . _ - and start with a letter or a digit"
    )]
    AccountName { text: String },
    #[error("{text:?} is not an action: use pull, push or delete")]
    Action { text: String },
    #[error("{text:?} is not a path pattern: {reason}")]
    PathPattern { text: String, reason: &'static str },
    #[error("{text:?} is not an object key: use components of a-z A-Z 0-9 . _ - joined by /")]
    ObjectKey { text: String },
    #[error("{text:?} is not a pattern of tags: use A-Z a-z 0-9 _ . - and * for any part")]
    TagPattern { text: String },
    #[error("{text:?} is not a platform: use os/architecture or os/architecture/variant")]
    Platform { text: String },
    #[error("the manifest cannot be read: {reason}")]
    Manifest { reason: String },
}

/// Longest piece of bad input that an error message repeats, in characters: enough to find it, not enough to
/// flood a log.
const SHOWN_INPUT: usize = 96;

/// The start of `text`, for an error message.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_INPUT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
