//! Telling others what happened. An event of a change is written to the outbox in the change's own transaction: if
//! one is there, so is the other. From the outbox each endpoint is served on its own, in order, at least once.
//!
//! Events have the form that distribution gave them and GitLab, Harbor and others read
//! (<https://distribution.github.io/distribution/about/notifications/>).

mod context;
mod delivery;
mod endpoint;
mod envelope;
mod history;
mod pulls;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use registry_blobs::BlobStore;
use registry_metadata::{Change, Metadata, NewEvent};
use registry_types::{Digest, MediaType, RepositoryName, Tag};
use time::OffsetDateTime;
use tokio::sync::Notify;

pub use self::{
    context::RequestContext,
    delivery::{BATCH_TYPE, DeliveryError, EventSink},
    endpoint::{EndpointName, EventAction, EventFilter, NotAnEndpointName},
    history::{EventKeeping, event_backlog},
};
use self::{envelope::Envelope, pulls::PullQueue};
use crate::Registry;

/// What endpoints are told, and by whom.
#[derive(Debug, Clone)]
pub struct EventSettings {
    /// The endpoints with what each wants to hear. Without any, no event is made.
    pub endpoints: Vec<(EndpointName, EventFilter)>,
    /// Host and port of this process, for `source.addr`.
    pub address: String,
    /// A name that no other run of a registry has, for `source.instanceID`.
    pub instance: String,
    /// The URL under which clients reach the registry, without a slash at its end. Without it events name the host
    /// that the client asked for.
    pub url: Option<String>,
}

/// Makes events and wakes those who deliver them. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: EventSettings,
    deliveries: Vec<Deliveries>,
    pulls: PullQueue,
}

/// What became of an endpoint's events in this process.
#[derive(Debug, Default)]
struct Deliveries {
    /// Something was written to the outbox.
    written: Notify,
    delivered: AtomicU64,
    failures: AtomicU64,
}

/// Numbers about events in this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventStatistics {
    pub endpoints: Vec<EndpointStatistics>,
    /// Events of pulls that were given up because they came faster than they could be written down.
    pub dropped_pulls: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatistics {
    pub name: EndpointName,
    pub delivered: u64,
    pub failures: u64,
}

/// Something that happened to a repository.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happening<'a> {
    pub(crate) action: EventAction,
    pub(crate) repository: &'a RepositoryName,
    /// The repository that a blob was mounted from.
    pub(crate) from: Option<&'a RepositoryName>,
    /// None when only a tag went.
    pub(crate) content: Option<Content<'a>>,
    pub(crate) tag: Option<&'a Tag>,
}

/// What it happened to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) digest: &'a Digest,
    /// Its size, and the type of a manifest. Of what was deleted or mounted they are not looked up.
    pub(crate) known: Option<(u64, Option<&'a MediaType>)>,
}

impl Default for Events {
    /// Tells nobody.
    fn default() -> Self {
        Self::new(EventSettings {
            endpoints: Vec::new(),
            address: String::new(),
            instance: String::new(),
            url: None,
        })
    }
}

impl Events {
    pub fn new(settings: EventSettings) -> Self {
        let deliveries = settings.endpoints.iter().map(|_| Deliveries::default()).collect();
        Self(Arc::new(Inner { settings, deliveries, pulls: PullQueue::default() }))
    }

    fn wanted(&self, happening: &Happening<'_>) -> bool {
        let media_type = happening.media_type().map(str::to_ascii_lowercase);
        self.0
            .settings
            .endpoints
            .iter()
            .any(|(_, filter)| filter.wants(happening.action, happening.repository, media_type.as_deref()))
    }

    fn of(
        &self,
        happening: &Happening<'_>,
        context: &RequestContext,
        now: OffsetDateTime,
    ) -> Option<NewEvent> {
        if !self.wanted(happening) {
            return None;
        }
        let payload = Envelope::of(happening, context, &self.0.settings, now).to_json();
        Some(NewEvent { repository: happening.repository.clone(), payload })
    }

    /// The event of what no request asked for.
    pub(crate) fn of_registry(&self, happening: &Happening<'_>, now: OffsetDateTime) -> Option<NewEvent> {
        self.of(happening, &RequestContext::registry(), now)
    }

    fn wake(&self) {
        for deliveries in &self.0.deliveries {
            deliveries.written.notify_one();
        }
    }

    fn statistics(&self) -> EventStatistics {
        let endpoints = self.0.settings.endpoints.iter().zip(&self.0.deliveries);
        EventStatistics {
            endpoints: endpoints
                .map(|((name, _), deliveries)| EndpointStatistics {
                    name: name.clone(),
                    delivered: deliveries.delivered.load(Ordering::Relaxed),
                    failures: deliveries.failures.load(Ordering::Relaxed),
                })
                .collect(),
            dropped_pulls: self.0.pulls.dropped(),
        }
    }
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// This registry, with `events` told to those who want them.
    #[must_use]
    pub fn with_events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    /// Whether anybody wants to hear of what a request does; of its pulls with `pulls`.
    pub fn tells(&self, pulls: bool) -> bool {
        let endpoints = &self.events.0.settings.endpoints;
        endpoints.iter().any(|(_, filter)| !pulls || filter.actions.contains(&EventAction::Pull))
    }

    /// This registry as one request sees it: what it does is told as that request's doing.
    #[must_use]
    pub fn for_request(&self, context: RequestContext) -> Self {
        Self { context: Some(Arc::new(context)), ..self.clone() }
    }

    pub(crate) fn event_statistics(&self) -> EventStatistics {
        self.events.statistics()
    }

    /// A change with the events of what it does.
    pub(crate) fn telling<'a>(&self, happenings: impl IntoIterator<Item = Happening<'a>>) -> Change {
        let mut change = self.change();
        if let Some(context) = &self.context {
            let events = happenings.into_iter().filter_map(|what| self.events.of(&what, context, change.now));
            change.events = events.collect();
        }
        change
    }

    /// To be called when a change with events was committed: they need not wait until somebody looks.
    pub(crate) fn told(&self) {
        self.events.wake();
    }

    /// Tells of manifests that collection has removed. They are gone already; a crash at this moment leaves them untold.
    pub(crate) async fn tell_collected(&self, manifests: &[(RepositoryName, Digest)]) {
        let now = OffsetDateTime::now_utc();
        let events: Vec<NewEvent> = manifests
            .iter()
            .filter_map(|(repository, digest)| {
                self.events.of_registry(&Happening::deleted(repository, Some(digest), None), now)
            })
            .collect();
        if events.is_empty() {
            return;
        }
        match self.metadata.record_events(events, now).await {
            Ok(()) => self.told(),
            Err(error) => tracing::warn!(%error, "endpoints are not told of what was collected"),
        }
    }

    /// Tells of a pull. It waits for nothing and may be given up: a pull changes nothing that an endpoint could miss.
    pub(crate) fn tell_pull(&self, happening: &Happening<'_>) {
        if let Some(context) = &self.context
            && let Some(event) = self.events.of(happening, context, OffsetDateTime::now_utc())
        {
            self.events.0.pulls.add(event);
        }
    }
}

impl<'a> Happening<'a> {
    pub(crate) fn to_blob(
        action: EventAction,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        size: u64,
    ) -> Self {
        let content = Content { digest, known: Some((size, None)) };
        Self { action, repository, from: None, content: Some(content), tag: None }
    }

    /// `from` is the repository that the client named, if it named one. The size is not looked up.
    pub(crate) fn mounted(
        repository: &'a RepositoryName,
        from: Option<&'a RepositoryName>,
        digest: &'a Digest,
    ) -> Self {
        let content = Content { digest, known: None };
        Self { action: EventAction::Mount, repository, from, content: Some(content), tag: None }
    }

    pub(crate) fn to_manifest(
        action: EventAction,
        repository: &'a RepositoryName,
        (digest, media_type, size): (&'a Digest, &'a MediaType, u64),
        tag: Option<&'a Tag>,
    ) -> Self {
        let content = Content { digest, known: Some((size, Some(media_type))) };
        Self { action, repository, from: None, content: Some(content), tag }
    }

    /// One for each tag; without tags one for the manifest.
    pub(crate) fn pushed_manifest(
        repository: &'a RepositoryName,
        content: (&'a Digest, &'a MediaType, u64),
        tags: &'a [Tag],
    ) -> impl Iterator<Item = Self> {
        let untagged = tags.is_empty().then_some(None);
        let tags = untagged.into_iter().chain(tags.iter().map(Some));
        tags.map(move |tag| Self::to_manifest(EventAction::Push, repository, content, tag))
    }

    /// As distribution has it: who is told of a deleted manifest or blob gets its digest, and nothing else of it.
    pub(crate) fn deleted(
        repository: &'a RepositoryName,
        digest: Option<&'a Digest>,
        tag: Option<&'a Tag>,
    ) -> Self {
        let content = digest.map(|digest| Content { digest, known: None });
        Self { action: EventAction::Delete, repository, from: None, content, tag }
    }

    /// As it was sent; `None` where it is not known.
    fn media_type(&self) -> Option<&'a str> {
        match (self.action, self.content?.known) {
            (_, Some((_, Some(manifest)))) => Some(manifest.as_sent()),
            (_, Some((_, None))) | (EventAction::Mount, None) => Some(envelope::BLOB_TYPE),
            (_, None) => None,
        }
    }
}

/// One happening is a list of one.
impl IntoIterator for Happening<'_> {
    type Item = Self;
    type IntoIter = std::iter::Once<Self>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self)
    }
}

#[cfg(test)]
mod tests;
