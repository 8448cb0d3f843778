//! The engine for several replicas: PostgreSQL. Replicas share nothing but the database.
//!
//! - What a replica answers is what the database says at that moment: a tag moved or a right withdrawn through
//!   one replica is seen at once through the others. Only content that never changes is kept: the bytes of a
//!   manifest, under their digest and type.
//! - Transactions run at READ COMMITTED and lock what they rest on. Each module says which races there are and
//!   why they end well.
//! - A broken connection, a restart of the server and a conflict of transactions are gone through by trying again;
//!   a write takes effect once, also when the connection broke during its COMMIT (see [`attempts`]).

mod accounts;
mod attempts;
mod background;
mod backup;
mod blobs;
#[cfg(feature = "suite")]
mod cluster;
mod collection;
mod columns;
mod connection;
mod error;
mod events;
mod explanation;
mod manifest_rows;
mod manifests;
mod metadata;
mod operation;
mod options;
mod orphans;
mod passfile;
mod policies;
mod pool;
mod queue;
mod quotas;
mod referrers;
mod removals;
mod repositories;
mod revisions;
mod rows;
mod schema;
mod secrets;
mod tags;
mod tls;
mod uploads;
mod verdicts;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use registry_types::{Digest, MediaType};

use self::{attempts::Attempts, connection::Connector, pool::Pool, revisions::Revised};
use crate::{MetadataError, RuleRecord, TagRuleRecord, cache::ExactCache};

#[cfg(feature = "suite")]
pub use cluster::{TestCluster, TestDatabase};
pub use options::{POSTGRES_CONNECTIONS, PostgresOptions};

/// How long the first connection is tried for: a database that is started at the same time as its replicas takes
/// some seconds.
const STARTUP_PATIENCE: Duration = Duration::from_secs(30);

/// How long after its last write a slot's mark may be removed: far longer than an operation's attempts last.
const MARK_LIFETIME: time::Duration = time::Duration::days(1);

/// Metadata in PostgreSQL. Cloning is cheap; all clones share the connections and the cache.
#[derive(Debug, Clone)]
pub struct PostgresMetadata {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    attempts: Attempts,
    contents: ContentCache,
    rules: Revised<RuleRecord>,
    tag_rules: Revised<TagRuleRecord>,
}

/// What a manifest's bytes are kept under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ContentKey {
    digest: Digest,
    media_type: MediaType,
}

type ContentCache = ExactCache<ContentKey, Bytes>;

impl PostgresMetadata {
    /// Connects, and brings the schema forward unless the options say otherwise. Must be called on the tokio
    /// runtime that the store is used on.
    ///
    /// # Errors
    /// [`MetadataError::Damaged`] for a schema of a newer program, or of an older one when it is not to be brought
    /// forward; [`MetadataError::Unavailable`] when the database cannot be reached or lets nobody in.
    pub async fn connect(options: PostgresOptions) -> Result<Self, MetadataError> {
        let PostgresOptions { config, tls, connections, content_cache_bytes, statement_timeout, migrate } =
            options;
        let connector = Connector::new(config, tls, statement_timeout);
        let attempts = Attempts::new(Pool::new(connector, connections), statement_timeout);
        attempts.prepare(STARTUP_PATIENCE, migrate).await?;
        let outdated = time::OffsetDateTime::now_utc() - MARK_LIFETIME;
        attempts.repeat(|at| async move { attempts::forget_marks(&at, outdated).await }).await?;
        let contents = ExactCache::new(content_cache_bytes, Bytes::len);
        let rules = Revised::new("rules", accounts::RULES);
        let tag_rules = Revised::new("tag_rules", policies::TAG_RULES);
        Ok(Self { inner: Arc::new(Inner { attempts, contents, rules, tag_rules }) })
    }

    /// Finishes every call that is under way and ends the connections. Later calls on any clone answer
    /// [`MetadataError::Unavailable`].
    pub async fn close(&self) {
        self.inner.attempts.pool().close().await;
    }

    /// Connections that no operation uses at this moment.
    pub fn idle_connections(&self) -> usize {
        self.inner.attempts.pool().idle()
    }
}

#[cfg(test)]
mod tests;
