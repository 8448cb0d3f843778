//! The listener: accepts, bounds the number of connections, drains on request.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use registry_blobs::BlobStore;
use registry_core::Registry;
use registry_metadata::Metadata;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authentication::Authenticator,
    caller::TrustedProxies,
    connection::{self, Protocols},
    ip_network::IpNetwork,
    places::{Peers, connections_that_fit},
    redirects::Redirects,
    service::Service,
};

/// Pause after a failed accept: no file descriptors are left, and asking at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Usual time without a byte after which a body is given up: longer than the pauses of a roaming phone or a disk
/// under load, and short enough that a client which went away without a word gives its place back.
const BODY_IDLE: Duration = Duration::from_secs(60);
/// Usual time for requests in hand after a stop was asked for: what Kubernetes leaves a pod before it kills it.
const DRAIN: Duration = Duration::from_secs(30);

/// TLS as the listener uses it; the configuration may be exchanged while serving.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    pub config: watch::Receiver<Arc<rustls::ServerConfig>>,
    /// Answers plain HTTP with an explanation only.
    pub required: bool,
}

/// How the server treats its clients.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// A body that is silent for this long is given up, in either direction, and so is an HTTP/2 connection
    /// on which nothing goes on.
    pub body_idle: Duration,
    /// How long requests in hand may take after a stop was asked for.
    pub drain: Duration,
    /// Reverse proxies whose `X-Forwarded-For`, `-Proto` and `-Host` are believed. From other peers these headers
    /// change nothing.
    pub trusted_proxies: Vec<IpNetwork>,
    /// Who gets a blob's bytes from the object store itself.
    pub redirects: Redirects,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            body_idle: BODY_IDLE,
            drain: DRAIN,
            trusted_proxies: Vec::new(),
            redirects: Redirects::default(),
        }
    }
}

/// Serves `listener` until `stop` is cancelled, then lets requests in hand finish for `settings.drain` and
/// records the progress of every upload that could not. Raises this process's limit of open files, since each
/// client needs some.
pub async fn serve<M: Metadata, B: BlobStore>(
    listener: TcpListener,
    registry: Registry<M, B>,
    authenticator: Authenticator,
    tls: Option<ListenerTls>,
    settings: HttpSettings,
    stop: CancellationToken,
) {
    let proxies = TrustedProxies::new(settings.trusted_proxies);
    let service = Service::new(
        registry.clone(),
        authenticator,
        settings.body_idle,
        proxies.clone(),
        settings.redirects,
    );
    let connections = connections_that_fit();
    let peers = Peers::new(connections);
    let places = Arc::new(Semaphore::new(connections));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let Ok(place) = place else { break };
        let (stream, peer): (_, SocketAddr) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        let peer_place = match peers.enter(peer.ip()) {
            Some(place) => Some(place),
            // It speaks for everybody, so no share of the places is its own.
            None if proxies.trust(peer.ip()) => None,
            None => {
                tracing::debug!(%peer, "closed at once: this address has its share of all connections");
                continue;
            }
        };
        let protocols = Protocols {
            tls: tls.as_ref().map(|tls| tls.config.borrow().clone()),
            tls_required: tls.as_ref().is_some_and(|tls| tls.required),
        };
        let (service, drain, cut) = (service.clone(), stop.clone(), cut.clone());
        connections.spawn(async move {
            tokio::select! {
                () = connection::serve(stream, peer, protocols, service, settings.body_idle, drain) => {}
                () = cut.cancelled() => {}
            }
            drop((place, peer_place));
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "closing connections that did not end in time");
        cut.cancel();
        connections.wait().await;
    }
    registry.drain().await;
}
