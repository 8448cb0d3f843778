//! How long events are kept. Those that every endpoint has taken stay for a while, so that they can be delivered again;
//! those that an endpoint did not take for very long go, since an endpoint that is away for good must not fill the disk.

use std::time::Duration;

use registry_blobs::BlobStore;
use registry_metadata::{EventBacklog, EventMetadata, Metadata, MetadataError};
use time::OffsetDateTime;
use tokio::time::sleep;

use super::EndpointName;
use crate::{CoreError, Registry};

/// How long events are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventKeeping {
    /// At least, also those that were delivered.
    pub delivered: Duration,
    /// At most, also those that were not.
    pub longest: Duration,
}

/// A cursor that follows the others at a distance: nobody is told anything by it, but what is behind it is not removed.
/// No endpoint can have this name.
const KEPT: &str = "(kept)";
/// How often old events are looked for.
const INTERVAL: Duration = Duration::from_secs(60);
/// Most events removed or passed in one transaction.
const BATCH: usize = 1_000;
/// How long the cursor is claimed for: one transaction.
const CLAIM: Duration = Duration::from_secs(10);

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Writes down the pulls that were gathered, until dropped.
    pub async fn keep_recording_pulls(&self) {
        loop {
            let events = self.events.0.pulls.take().await;
            let count = events.len();
            match self.metadata.record_events(events, OffsetDateTime::now_utc()).await {
                Ok(()) => self.told(),
                Err(error) => {
                    tracing::warn!(%error, count, "events of pulls are lost");
                    self.events.0.pulls.give_up(count);
                }
            }
        }
    }

    /// Gives each endpoint that has none its place in the outbox: what is written from now on is for it.
    pub async fn begin_endpoints(&self) -> Result<(), CoreError> {
        let now = OffsetDateTime::now_utc();
        for (name, _) in &self.events.0.settings.endpoints {
            self.metadata.add_endpoint(name.as_str(), now).await?;
        }
        Ok(hold(&self.metadata, now).await?)
    }

    /// Removes old events, until dropped.
    pub async fn keep_events_trimmed(&self, keeping: EventKeeping) {
        while let Err(error) = hold(&self.metadata, OffsetDateTime::now_utc()).await {
            tracing::warn!(%error, "cannot begin to keep events; trying again in a minute");
            sleep(INTERVAL).await;
        }
        loop {
            if let Err(error) = trim(&self.metadata, keeping, OffsetDateTime::now_utc()).await {
                tracing::warn!(%error, "cannot remove old events; trying again in a minute");
            }
            sleep(INTERVAL).await;
        }
    }

    /// Cursors of endpoints that are not configured any more. They hold events back until those are too old.
    pub async fn forgotten_endpoints(&self) -> Result<Vec<EndpointName>, CoreError> {
        let mut names = event_backlog(&self.metadata).await?;
        names.retain(|backlog| {
            let mut known = self.events.0.settings.endpoints.iter();
            !known.any(|(name, _)| name.as_str() == backlog.cursor.endpoint)
        });
        Ok(names.into_iter().filter_map(|backlog| backlog.cursor.endpoint.parse().ok()).collect())
    }
}

/// How far each endpoint is, by name.
///
/// # Errors
/// Those of the store.
pub async fn event_backlog(metadata: &impl EventMetadata) -> Result<Vec<EventBacklog>, MetadataError> {
    let mut backlog = metadata.event_backlog().await?;
    backlog.retain(|backlog| backlog.cursor.endpoint != KEPT);
    Ok(backlog)
}

/// From now on events are kept though every endpoint has taken them.
pub(super) async fn hold(metadata: &impl EventMetadata, now: OffsetDateTime) -> Result<(), MetadataError> {
    metadata.add_endpoint(KEPT, now).await
}

/// One look at what is too old at `now`. Gives how many events went.
pub(super) async fn trim(
    metadata: &impl EventMetadata,
    keeping: EventKeeping,
    now: OffsetDateTime,
) -> Result<usize, MetadataError> {
    let oldest = metadata.events_after(0, 1).await?;
    if oldest.first().is_none_or(|event| event.created_at >= now - keeping.delivered.min(keeping.longest)) {
        return Ok(0);
    }
    let mut removed = 0;
    if let Some(mut claim) = metadata.claim_endpoint(KEPT, now, now + CLAIM).await? {
        loop {
            let events = metadata.events_after(claim.event_id, BATCH).await?;
            let old = events.iter().take_while(|event| event.created_at < now - keeping.delivered);
            let Some(last) = old.last().map(|event| event.id) else { break };
            if !metadata.advance_endpoint(&claim, last, now + CLAIM).await? {
                break;
            }
            claim.event_id = last;
        }
        metadata.advance_endpoint(&claim, claim.event_id, now).await?;
    }
    loop {
        let trimmed = metadata.trim_events(now - keeping.longest, BATCH).await?;
        removed += trimmed;
        if trimmed < BATCH {
            return Ok(removed);
        }
    }
}
