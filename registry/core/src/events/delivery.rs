//! From the outbox to an endpoint. The order of an endpoint's events is that of the outbox; its cursor moves when it
//! has taken them, so a crash or a lost answer makes it hear something twice and never lets it miss something. An
//! endpoint that fails is asked again after a pause that doubles, and holds up nobody else. Of several replicas the one
//! that has claimed the endpoint delivers; a claim that is not given back runs out by itself.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use registry_blobs::BlobStore;
use registry_metadata::{EventCursor, EventMetadata, EventRecord, Metadata, MetadataError};
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};

use super::{Deliveries, EndpointName, EventAction, EventFilter, Events};
use crate::Registry;

/// The `Content-Type` of a batch.
pub const BATCH_TYPE: &str = "application/vnd.docker.distribution.events.v1+json";

/// Most events of one delivery: some 100 KB.
const BATCH: usize = 100;
/// How often the outbox is looked at for what others have written. What this process writes is delivered at once.
const LOOK: Duration = Duration::from_secs(1);
/// How often the endpoint's own place is looked at though nothing new was written: somebody may have put it back.
const LOOK_AT_CURSOR: Duration = Duration::from_secs(10);
/// How much longer than an attempt a claim holds, for moving the cursor behind it.
const CLAIM_MARGIN: Duration = Duration::from_secs(5);
/// Pause after a first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Pause when the metadata store does not answer.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Why an endpoint did not take a batch. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryError(pub String);

/// Hands batches to one endpoint.
pub trait EventSink: Send + Sync + 'static {
    /// Gives the endpoint a batch, JSON of the type [`BATCH_TYPE`]. It has taken the batch only if this says so.
    fn deliver(&self, batch: Bytes) -> impl Future<Output = Result<(), DeliveryError>> + Send;
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Delivers to the endpoint, until dropped. `attempt` is what one attempt may take.
    pub async fn keep_delivering(&self, endpoint: &EndpointName, attempt: Duration, sink: impl EventSink) {
        let clock: Clock = Arc::new(OffsetDateTime::now_utc);
        match Deliverer::new(self.metadata.clone(), &self.events, endpoint, (attempt, sink), clock) {
            Some(mut deliverer) => deliverer.run().await,
            None => tracing::error!(%endpoint, "nothing is delivered to an endpoint that is not configured"),
        }
    }
}

type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// Everything is delivered.
    Done,
    /// Somebody else delivers, or a pause runs.
    Busy,
    Failed,
}

pub(super) struct Deliverer<M, S> {
    metadata: M,
    events: Events,
    number: usize,
    name: EndpointName,
    filter: EventFilter,
    attempt: Duration,
    sink: S,
    clock: Clock,
    /// Up to where everything is delivered, and when that was so; `None` when that is not known.
    passed: Option<(i64, Instant)>,
}

impl<M: EventMetadata, S: EventSink> Deliverer<M, S> {
    /// `None` when the events have no such endpoint.
    pub(super) fn new(
        metadata: M,
        events: &Events,
        name: &EndpointName,
        (attempt, sink): (Duration, S),
        clock: Clock,
    ) -> Option<Self> {
        let number = events.0.settings.endpoints.iter().position(|(known, _)| known == name)?;
        let (name, filter) = events.0.settings.endpoints.get(number)?.clone();
        let events = events.clone();
        Some(Self { metadata, events, number, name, filter, attempt, sink, clock, passed: None })
    }

    async fn run(&mut self) {
        let name = self.name.clone();
        while let Err(error) = self.metadata.add_endpoint(name.as_str(), (self.clock)()).await {
            tracing::warn!(endpoint = %name, %error, "cannot begin to deliver events yet");
            sleep(STORE_PAUSE).await;
        }
        loop {
            match self.round().await {
                // Woken by what this process writes, else after a while.
                Ok(Round::Done) => drop(timeout(LOOK, self.written()).await),
                Ok(Round::Busy | Round::Failed) => sleep(LOOK).await,
                Err(error) => {
                    tracing::warn!(endpoint = %name, %error, "cannot deliver events: the outbox does not answer");
                    sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Answers when this process has written something to the outbox.
    async fn written(&self) {
        match self.events.0.deliveries.get(self.number) {
            Some(deliveries) => deliveries.written.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Delivers what there is.
    pub(super) async fn round(&mut self) -> Result<Round, MetadataError> {
        // Looking costs less than a claim, which is a write.
        if let Some((passed, at)) = self.passed
            && at.elapsed() < LOOK_AT_CURSOR
            && self.metadata.events_after(passed, 1).await?.is_empty()
        {
            return Ok(Round::Done);
        }
        self.passed = None;
        let (now, lease) = ((self.clock)(), self.attempt + CLAIM_MARGIN);
        let Some(mut claim) = self.metadata.claim_endpoint(self.name.as_str(), now, now + lease).await?
        else {
            return Ok(Round::Busy);
        };
        loop {
            let batch = self.metadata.events_after(claim.event_id, BATCH).await?;
            let wanted: Vec<&str> =
                batch.iter().filter(|event| self.wants(event)).map(|event| &*event.payload).collect();
            if !wanted.is_empty()
                && let Err(error) = self.attempt(&wanted).await
            {
                return self.failed(&claim, &error).await;
            }
            let last = batch.last().map_or(claim.event_id, |event| event.id);
            let more = batch.len() == BATCH;
            let now = (self.clock)();
            // With nothing more to do the claim is given back.
            let until = if more { now + lease } else { now };
            if !self.metadata.advance_endpoint(&claim, last, until).await? {
                return Ok(Round::Busy);
            }
            if claim.attempts > 0 {
                tracing::info!(endpoint = %self.name, "events are delivered again");
            }
            claim = EventCursor { event_id: last, attempts: 0, ..claim };
            if !more {
                self.passed = Some((last, Instant::now()));
                return Ok(Round::Done);
            }
        }
    }

    /// An event that cannot be read is nothing that an endpoint could want.
    fn wants(&self, event: &EventRecord) -> bool {
        serde_json::from_str::<Glance>(&event.payload).is_ok_and(|glance| {
            let media_type = glance.target.media_type.map(|text| text.to_ascii_lowercase());
            self.filter.wants(glance.action, &event.repository, media_type.as_deref())
        })
    }

    async fn attempt(&self, payloads: &[&str]) -> Result<(), DeliveryError> {
        let batch = Bytes::from(format!("{{\"events\":[{}]}}", payloads.join(",")));
        let late = |_| DeliveryError(format!("no answer within {} seconds", self.attempt.as_secs_f32()));
        timeout(self.attempt, self.sink.deliver(batch)).await.map_err(late).flatten()?;
        self.count(|deliveries| deliveries.delivered.fetch_add(payloads.len() as u64, Ordering::Relaxed));
        Ok(())
    }

    async fn failed(&self, claim: &EventCursor, error: &DeliveryError) -> Result<Round, MetadataError> {
        self.count(|deliveries| deliveries.failures.fetch_add(1, Ordering::Relaxed));
        let pause = pause_after(claim.attempts);
        let seconds = pause.as_secs();
        tracing::warn!(endpoint = %self.name, attempts = claim.attempts + 1, %error, "events were not delivered; tried again in {seconds} seconds");
        self.metadata.fail_endpoint(claim, (self.clock)() + pause).await?;
        Ok(Round::Failed)
    }

    fn count(&self, add: impl FnOnce(&Deliveries) -> u64) {
        if let Some(deliveries) = self.events.0.deliveries.get(self.number) {
            add(deliveries);
        }
    }
}

impl<M, S> fmt::Debug for Deliverer<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliverer").field("endpoint", &self.name).finish_non_exhaustive()
    }
}

/// What a filter looks at in an event.
#[derive(Debug, Deserialize)]
struct Glance {
    action: EventAction,
    target: GlanceTarget,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct GlanceTarget {
    media_type: Option<String>,
}

/// The pause after one more failure than `attempts`.
fn pause_after(attempts: u32) -> Duration {
    let doubled = 2_u32.checked_pow(attempts).and_then(|factor| FIRST_PAUSE.checked_mul(factor));
    doubled.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests;
