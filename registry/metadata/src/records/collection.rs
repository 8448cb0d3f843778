//! What collection decides, and why.

use std::time::Duration;

use registry_types::{BlobLocation, Digest, RepositoryName, Tag};
use time::OffsetDateTime;

/// What may go besides what nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectPolicy {
    /// A manifest without a tag goes so long after it lost its last one, or was pushed without. `None`: it stays.
    pub untagged_after: Option<Duration>,
    /// Untagged referrers go when their subject is deleted, even if other untagged manifests stay.
    pub referrers_with_subject: bool,
}

impl Default for CollectPolicy {
    /// What a person pushed stays until it is asked for; what describes a deleted manifest goes with it.
    fn default() -> Self {
        Self { untagged_after: None, referrers_with_subject: true }
    }
}

/// Links, manifests and blobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Blobs as repositories see them.
    pub links: u64,
    /// Manifests as repositories see them.
    pub manifests: u64,
    /// Blobs that no repository links.
    pub blobs: u64,
}

/// What one batch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Entries looked at. Less than the limit: nothing more is due.
    pub examined: u64,
    pub removed: KindCounts,
    /// Bytes of the removed blobs, which now wait in the list of removals.
    pub bytes: u64,
    /// The removed manifests, to be told to endpoints.
    pub manifests: Vec<(RepositoryName, Digest)>,
}

/// What an entry of the queue is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    Link { repository: RepositoryName, digest: Digest },
    Manifest { repository: RepositoryName, digest: Digest },
    Blob { digest: Digest, size: u64 },
}

/// One decision with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub candidate: Candidate,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes.
    Remove(RemovalReason),
    /// It stays, for good or until something changes.
    Keep(KeepReason),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovalReason {
    /// No manifest of the repository names the blob.
    Unreferenced,
    /// It lost its last tag at this time, or was pushed without one.
    Untagged { since: OffsetDateTime },
    /// Its subject was deleted at this time.
    SubjectDeleted { at: OffsetDateTime },
    /// No repository links the blob.
    Unlinked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    Leased {
        until: OffsetDateTime,
    },
    /// A manifest of the repository names the blob.
    Named {
        by: Digest,
    },
    Tagged {
        tag: Tag,
    },
    /// An index of the repository names the manifest.
    Child {
        of: Digest,
    },
    /// The repository has its subject.
    Refers {
        to: Digest,
    },
    /// The policy keeps untagged manifests.
    UntaggedKept,
    /// The policy removes it at this time.
    UntaggedUntil {
        until: OffsetDateTime,
    },
    /// A repository links the blob.
    Linked {
        by: RepositoryName,
    },
}

/// What would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DryRun {
    pub decisions: Vec<Decision>,
    /// Bytes of the blobs that would go.
    pub bytes: u64,
    /// The limit was met; more is due.
    pub more: bool,
}

/// Why a digest is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Size and location, if it is a blob.
    pub blob: Option<(u64, BlobLocation)>,
    pub chains: Vec<Chain>,
    /// The limit was met; there are more chains.
    pub more: bool,
}

/// How one repository holds a digest: each step is held by the next, and the last one by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    pub repository: RepositoryName,
    pub steps: Vec<KeepReason>,
    /// Nothing holds the last step: it goes when its turn comes.
    pub ends: bool,
}

/// Where collection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionStatus {
    /// Entries of the queue, due or not.
    pub queued: KindCounts,
    pub due: KindCounts,
    /// Since when the oldest due entry has been due.
    pub oldest_due: Option<OffsetDateTime>,
    /// Manifests that go once the policy lets untagged manifests go.
    pub untagged_kept: u64,
    /// Blobs whose bytes wait to be removed, and those bytes.
    pub removals: u64,
    pub removal_bytes: u64,
    /// Removed since the store was made.
    pub collected: KindCounts,
    pub collected_bytes: u64,
}

/// Bytes of a blob that no row names any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRemoval {
    pub id: i64,
    pub digest: Digest,
    pub location: BlobLocation,
    pub size: u64,
}
