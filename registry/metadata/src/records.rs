//! The rows, as values.

use std::fmt;

use bytes::Bytes;
use registry_types::{
    AccessRule, AccountKind, AccountName, Descriptor, Digest, HashState, ManifestView, MediaType,
    RepositoryName, Tag, UploadId,
};
use time::OffsetDateTime;

/// A blob as one repository sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRecord {
    pub digest: Digest,
    /// Length, in bytes.
    pub size: u64,
}

/// A manifest as one repository sees it; `bytes` are those that were pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRecord {
    pub digest: Digest,
    pub media_type: MediaType,
    pub bytes: Bytes,
    pub pushed_at: OffsetDateTime,
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

/// One entry of the referrers list, as a descriptor with artifact type and annotations.
pub type Referrer = Descriptor;

/// A tag with what a listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRecord {
    pub tag: Tag,
    pub digest: Digest,
    pub media_type: MediaType,
    /// Bytes of the manifest, its config and its layers, each digest once.
    pub size: u64,
    pub pushed_at: OffsetDateTime,
}

/// An upload session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRecord {
    pub id: UploadId,
    pub repository: RepositoryName,
    pub started_at: OffsetDateTime,
    pub touched_at: OffsetDateTime,
    /// Bytes that are durable in the blob store, with the hash state over exactly them.
    pub progress: HashState,
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
