//! The registry's use cases. What reads or changes a repository takes a grant from `registry-auth`, so a call that
//! was not authorised does not compile; without one go only the token server's look-ups (`accounts`), the readiness
//! check and the care for unfinished uploads, which no client can name a repository to. Each orders the two stores
//! so that a crash between them loses nothing that was acknowledged: blob bytes, then the rows that refer to them,
//! then the answer. No HTTP here.

mod accounts;
mod admission;
mod collection;
mod digest_locks;
mod discovery;
mod error;
mod events;
mod explain;
mod manifests;
mod proxy;
mod pull;
mod pull_times;
mod push;
mod quantities;
mod recovery;
mod retention;
mod sessions;
mod slots;
mod statistics;
mod sweep;
mod tag_guard;
mod tag_rules;
mod text;
mod upload_body;
mod uploads;

pub use admission::Admission;
pub use collection::CollectionRound;
pub use discovery::{LARGEST_PAGE, PageQuery};
pub use error::CoreError;
pub use events::{
    BATCH_TYPE, DeliveryError, EndpointName, EndpointStatistics, EventAction, EventFilter, EventKeeping,
    EventSettings, EventSink, EventStatistics, Events, NotAnEndpointName, RequestContext, event_backlog,
};
pub use explain::{Explained, Question, Ruling};
pub use manifests::{ManifestPush, PushedManifest};
pub use proxy::*;
pub use pull::BlobContent;
pub use quantities::{Age, ByteSize};
pub use recovery::Recovered;
pub use retention::*;
pub use statistics::{Faults, Statistics};
pub use sweep::Sweeper;
pub use tag_rules::*;
pub use text::{Text, TextError, as_text};
pub use upload_body::{BodyError, UploadBody};
pub use uploads::{Mounted, UploadStatus};

use std::sync::Arc;

use digest_locks::DigestLocks;
use pull_times::PullTimes;
use registry_blobs::BlobStore;
use registry_metadata::{Change, CollectPolicy, LEASE, Metadata, TagRule};
use sessions::SessionLocks;
use statistics::CollectionCounts;
use tokio_util::task::TaskTracker;

/// What an operator can set about the use cases.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest manifest, in bytes. The distribution specification asks for at least 4 MiB.
    pub manifest_bytes: usize,
    /// Takes image manifests whose blobs are missing, for mirrors that fill up later.
    pub sparse_manifests: bool,
    /// Largest blob, in bytes; `None`: any.
    pub layer_bytes: Option<u64>,
    /// Nothing is written: pulls go on.
    pub read_only: bool,
    /// An upload session that nobody touched for this long is removed.
    pub upload_idle: std::time::Duration,
    /// What was pushed, mounted or asked for stays for so long though nothing refers to it.
    pub lease: std::time::Duration,
    /// What else collection takes.
    pub collection: CollectPolicy,
    /// Tag rules that hold beside those of the store.
    pub tag_rules: Arc<[TagRule]>,
    pub authority: Authority,
}

/// Whose names the callers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authority {
    /// Nobody's: every caller may do everything.
    Nobody,
    /// Those of the registry's own accounts.
    #[default]
    Accounts,
    /// Those of a GitLab, which may be those of accounts and mean others.
    Gitlab,
}

/// 4 MiB, the least that the distribution specification lets clients count on.
pub const MANIFEST_BYTES: usize = 4 << 20;
/// A week: long enough for a laptop to go home over a weekend in the middle of a push.
const UPLOAD_IDLE: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_bytes: MANIFEST_BYTES,
            sparse_manifests: false,
            layer_bytes: None,
            read_only: false,
            upload_idle: UPLOAD_IDLE,
            lease: LEASE,
            collection: CollectPolicy::default(),
            tag_rules: Arc::default(),
            authority: Authority::default(),
        }
    }
}

/// The registry: a metadata store, a blob store and the sessions being written right now.
#[derive(Debug, Clone)]
pub struct Registry<M, B> {
    metadata: M,
    blobs: B,
    limits: Limits,
    sessions: SessionLocks,
    digests: DigestLocks,
    pulls: PullTimes,
    mirrors: Mirrors,
    /// Uploads whose client went away are finished to their last durable byte; shutdown waits for them here.
    running: TaskTracker,
    events: Events,
    /// The request that this is the registry of, when its doings are told.
    context: Option<Arc<RequestContext>>,
    collections: Arc<CollectionCounts>,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    pub fn new(metadata: M, blobs: B, limits: Limits) -> Self {
        Self {
            metadata,
            blobs,
            limits,
            sessions: SessionLocks::default(),
            digests: DigestLocks::default(),
            pulls: PullTimes::default(),
            mirrors: Mirrors::default(),
            running: TaskTracker::new(),
            events: Events::default(),
            context: None,
            collections: Arc::default(),
        }
    }

    /// The same registry with repositories that mirror others.
    #[must_use]
    pub fn with_mirrors(self, mirrors: Mirrors) -> Self {
        Self { mirrors, ..self }
    }

    pub fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A change at this moment, whose lease is the configured one.
    fn change(&self) -> Change {
        Change { lease: self.limits.lease, ..Change::now() }
    }

    /// Whether a write would be taken right now.
    pub async fn ready(&self) -> Result<(), CoreError> {
        let (metadata, blobs) = tokio::join!(self.metadata.ping(), self.blobs.ping());
        metadata.map_err(CoreError::from).and(blobs.map_err(CoreError::from))
    }

    /// Waits until every upload in hand has recorded its progress. Call it after the last connection closed.
    pub async fn drain(&self) {
        self.mirrors.stop();
        self.running.close();
        self.running.wait().await;
        self.record_pulls().await;
    }
}
