//! Events from the configuration: who is told what, and by which way.

mod sink;

use std::time::Duration;

use registry_blobs::BlobStore;
use registry_core::{EndpointName, EventKeeping, EventSettings, Events, Registry};
use registry_metadata::Metadata;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{Config, ServerError, run::keep};
pub(crate) use sink::HttpSink;

/// An endpoint, ready to be delivered to.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) name: EndpointName,
    pub(crate) attempt: Duration,
    pub(crate) sink: HttpSink,
}

/// What core tells, and to whom. `port` is the one that the registry listens on.
pub(crate) fn events(config: &Config, port: u16) -> Events {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Events::new(EventSettings {
        endpoints: config.events.endpoints.iter().map(|one| (one.name.clone(), one.filter())).collect(),
        address: format!("{host}:{port}"),
        instance: Uuid::new_v4().to_string(),
        url: config.external_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()),
    })
}

/// The endpoints of the configuration.
pub(crate) async fn endpoints(config: &Config) -> Result<Vec<Endpoint>, ServerError> {
    let mut endpoints = Vec::new();
    for endpoint in &config.events.endpoints {
        let sink = HttpSink::new(&endpoint.url, endpoint.header_map()?).await?;
        let attempt = Duration::from_secs(endpoint.timeout_seconds);
        endpoints.push(Endpoint { name: endpoint.name.clone(), attempt, sink });
    }
    Ok(endpoints)
}

/// Begins to deliver events, and to keep the outbox in order.
pub(crate) async fn tell<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    endpoints: Vec<Endpoint>,
    keeping: EventKeeping,
    (housekeeping, stop): (&TaskTracker, &CancellationToken),
) {
    match registry.forgotten_endpoints().await {
        Ok(names) => {
            for name in names {
                tracing::warn!(
                    "the event endpoint {name} is not configured any more: what waits for it is kept for a while; \
                     `slipway registry events remove {name}` forgets it"
                );
            }
        }
        Err(error) => tracing::error!(%error, "cannot look for endpoints that are not configured any more"),
    }
    let trimmed = registry.clone();
    keep(
        "removing old events",
        housekeeping,
        stop,
        async move { trimmed.keep_events_trimmed(keeping).await },
    );
    if endpoints.is_empty() {
        return;
    }
    let pulls = registry.clone();
    keep("recording pulls", housekeeping, stop, async move { pulls.keep_recording_pulls().await });
    for Endpoint { name, attempt, sink } in endpoints {
        let registry = registry.clone();
        keep("delivering events", housekeeping, stop, async move {
            registry.keep_delivering(&name, attempt, sink).await;
        });
    }
}
