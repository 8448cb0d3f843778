//! When manifests were pulled, for retention: noted in memory with each pull and recorded together now and then, so
//! that a pull costs no write. A crash loses the times of the last seconds, and retention keeps by ages of days.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use registry_auth::{Grant, Pull};
use registry_blobs::BlobStore;
use registry_metadata::Metadata;
use registry_types::{Digest, RepositoryName};
use time::OffsetDateTime;

use crate::Registry;

/// How often times are recorded.
const INTERVAL: Duration = Duration::from_secs(30);
/// Most manifests noted between two records: some 4 MiB. The times of further ones wait for their next pull.
const MOST: usize = 32_768;
/// Times in one transaction, which a push may have to wait for.
const BATCH: usize = 500;

/// The times that are not recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct PullTimes(Arc<Mutex<HashMap<(RepositoryName, Digest), OffsetDateTime>>>);

impl PullTimes {
    fn note(&self, repository: &RepositoryName, digest: Digest, now: OffsetDateTime) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = times.len() >= MOST;
        let key = (repository.clone(), digest);
        if !full || times.contains_key(&key) {
            times.insert(key, now);
        }
    }

    fn take(&self) -> Vec<(RepositoryName, Digest, OffsetDateTime)> {
        let times = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        times.into_iter().map(|((repository, digest), at)| (repository, digest, at)).collect()
    }
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Notes that the manifest is being sent. A registry that is read-only notes nothing.
    pub fn note_pull(&self, grant: &Grant<Pull>, digest: &Digest) {
        if !self.limits.read_only {
            self.pulls.note(grant.repository(), *digest, OffsetDateTime::now_utc());
        }
    }

    /// Records what was noted now and then, for ever.
    pub async fn keep_pulls_recorded(&self) {
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            interval.tick().await;
            self.record_pulls().await;
        }
    }

    /// Records what was noted. What cannot be recorded is logged and noted again.
    pub async fn record_pulls(&self) {
        let pulls = self.pulls.take();
        for batch in pulls.chunks(BATCH) {
            if let Err(error) = self.metadata.record_pulls(batch).await {
                tracing::warn!(%error, "cannot record when manifests were pulled");
                for (repository, digest, at) in batch {
                    self.pulls.note(repository, *digest, *at);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_stands_and_the_room_is_bounded() {
        let times = PullTimes::default();
        let (name, at): (RepositoryName, _) = ("a".parse().unwrap(), OffsetDateTime::UNIX_EPOCH);
        let digest = Digest::sha256(b"0");
        times.note(&name, digest, at);
        for number in 1..=MOST {
            times.note(&name, Digest::sha256(number.to_string().as_bytes()), at);
        }
        times.note(&name, digest, at + Duration::from_secs(1));
        let taken = times.take();
        assert_eq!(taken.len(), MOST);
        assert!(taken.contains(&(name, digest, at + Duration::from_secs(1))));
        assert!(times.take().is_empty());
    }
}
