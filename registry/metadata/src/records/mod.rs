//! The rows, as values.

mod change;
mod collection;
mod counts;
mod events;
mod policies;
mod rows;

use std::{fmt, num::ParseIntError, str::FromStr};

use bytes::Bytes;
use registry_types::{
    AccessRule, AccountKind, AccountName, BlobLocation, Digest, ManifestView, MediaType, RepositoryName, Tag,
    UploadId, UploadProgress,
};
use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;

pub(crate) use self::change::later;
pub use self::{change::*, collection::*, counts::*, events::*, policies::*, rows::*};

/// A blob as one repository sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRecord {
    pub digest: Digest,
    /// Length, in bytes.
    pub size: u64,
    pub location: BlobLocation,
    /// Until when the blob is kept from collection here though no manifest names it. What a cache answers may be
    /// earlier than what the store says, never later.
    pub leased_until: OffsetDateTime,
}

/// A blob whose bytes are durable, to be linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBlob {
    pub digest: Digest,
    /// Length, in bytes.
    pub size: u64,
    pub location: BlobLocation,
}

impl From<BlobRecord> for NewBlob {
    fn from(BlobRecord { digest, size, location, .. }: BlobRecord) -> Self {
        Self { digest, size, location }
    }
}

/// A manifest as one repository sees it; `bytes` are those that were pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRecord {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
    pub pushed_at: OffsetDateTime,
    /// As [`BlobRecord::leased_until`].
    pub leased_until: OffsetDateTime,
}

/// A manifest to store, with the tags to point at it, in one transaction.
#[derive(Debug, Clone)]
pub struct NewManifest {
    pub repository: RepositoryName,
    pub digest: Digest,
    pub bytes: Bytes,
    /// Parts, subject and types of `bytes`.
    pub view: ManifestView,
    pub tags: Vec<Tag>,
    /// Those of `tags` that an immutability rule holds to the manifest they name now, if they name one.
    pub immutable_tags: Vec<Tag>,
    /// Takes a sparse manifest: blobs it names may be missing. Its references are recorded all the same.
    pub allow_missing_blobs: bool,
}

/// A page of a sorted list: entries greater than `after`, at most `limit`.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    pub after: Option<String>,
    pub limit: usize,
}

/// A page, and whether more entries follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub entries: Vec<T>,
    pub more: bool,
}

/// Where an entry stands in the list of referrers. Later pushes stand behind earlier ones; the text form means
/// nothing to anyone but the store that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReferrerMarker(pub(crate) i64);

impl fmt::Display for ReferrerMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReferrerMarker {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// A page of the referrers list: entries behind `after`. It ends before the entry that would take it past
/// `entries` or `bytes`, and has one entry at least, so whoever follows the pages comes to their end.
#[derive(Debug, Clone, Copy)]
pub struct ReferrersRequest {
    pub after: Option<ReferrerMarker>,
    pub entries: usize,
    /// Of the entries in memory and, nearly, as JSON. Annotations are as long as their client likes.
    pub bytes: usize,
}

/// One entry of the referrers list; as JSON a descriptor with artifact type and annotations.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    pub media_type: MediaType,
    pub digest: Digest,
    /// Length of the manifest, in bytes.
    pub size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<MediaType>,
    /// The object as JSON text, which goes to clients as it is: as a map it would take many times its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Box<RawValue>>,
    #[serde(skip)]
    pub marker: ReferrerMarker,
}

/// A tag with what a listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    pub tag: Tag,
    pub digest: Digest,
    pub media_type: MediaType,
    /// Bytes of the manifest, its config and its layers, each digest once.
    pub size: u64,
    /// When the tag was pushed last.
    pub pushed_at: OffsetDateTime,
    /// When its manifest was pulled last, by whatever reference, as far as pulls were recorded.
    pub pulled_at: Option<OffsetDateTime>,
}

/// An upload session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    pub id: UploadId,
    pub repository: RepositoryName,
    pub started_at: OffsetDateTime,
    pub touched_at: OffsetDateTime,
    pub progress: UploadProgress,
    /// Raised by each request that claims the session; only the last one may record progress.
    pub writer: u64,
}

/// A user or robot.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountRecord {
    pub name: AccountName,
    pub kind: AccountKind,
    /// May do everything to every repository, and list the catalog.
    pub admin: bool,
    /// The password in a PHC string (argon2id) or bcrypt's form.
    pub password_hash: String,
    pub created_at: OffsetDateTime,
}

impl fmt::Debug for AccountRecord {
    /// Leaves the password hash out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountRecord")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("admin", &self.admin)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// A stored access rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRecord {
    pub id: i64,
    pub rule: AccessRule,
}
