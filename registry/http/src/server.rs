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
    service::{Handler, Service, Shown},
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

/// What operators look at: `/livez`, `/readyz` and `/metrics`.
#[derive(Debug, Default)]
pub struct Monitoring {
    /// Answers these, by plain HTTP, and nothing else; then they are nowhere else.
    pub admin: Option<TcpListener>,
    /// Without `admin`: answers `/metrics` beside the registry, to everybody who reaches it.
    pub metrics_on_main: bool,
}

/// Most connections at once to the admin listener. They are beside those of the registry, so that an operator sees
/// something when those are all taken.
const ADMIN_CONNECTIONS: usize = 64;

/// Serves `listener` until `stop` is cancelled, then lets requests in hand finish for `settings.drain` and
/// records the progress of every upload that could not. The admin listener is served until all that is done. Raises
/// this process's limit of open files, since each client needs some.
pub async fn serve<M: Metadata, B: BlobStore>(
    listener: TcpListener,
    registry: Registry<M, B>,
    authenticator: Authenticator,
    tls: Option<ListenerTls>,
    monitoring: Monitoring,
    settings: HttpSettings,
    stop: CancellationToken,
) {
    let (idle, proxies) = (settings.body_idle, TrustedProxies::new(settings.trusted_proxies));
    let service = Service::new(
        registry.clone(),
        authenticator,
        idle,
        (proxies.clone(), settings.redirects),
        stop.clone(),
    );
    let metrics = monitoring.admin.is_none() && monitoring.metrics_on_main;
    let shown = Shown { registry: true, health: monitoring.admin.is_none(), metrics };
    let ended = CancellationToken::new();
    let admin = monitoring.admin.map(|listener| {
        let handler = service.clone().showing(Shown { registry: false, health: true, metrics: true });
        let (places, proxies) = (ADMIN_CONNECTIONS, proxies.clone());
        let door = Door { listener, handler, tls: None, places, proxies, idle };
        tokio::spawn(door.open(ended.clone(), ended.clone()))
    });
    let (places, handler) = (connections_that_fit(), service.showing(shown));
    let cut = CancellationToken::new();
    let connections = Door { listener, handler, tls, places, proxies, idle }.open(stop, cut.clone()).await;
    if tokio::time::timeout(settings.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "closing connections that did not end in time");
        cut.cancel();
        connections.wait().await;
    }
    registry.drain().await;
    ended.cancel();
    if let Some(Ok(connections)) = futures_util::future::OptionFuture::from(admin).await {
        connections.wait().await;
    }
}

/// A listener and whom it lets in.
struct Door<H> {
    listener: TcpListener,
    handler: H,
    tls: Option<ListenerTls>,
    /// Most connections at once.
    places: usize,
    proxies: TrustedProxies,
    idle: Duration,
}

impl<H: Handler> Door<H> {
    /// Lets clients in until `stop`, which ends each of their connections behind its requests in hand. Gives those that
    /// are still open then; `cut` ends them at once.
    async fn open(self, stop: CancellationToken, cut: CancellationToken) -> TaskTracker {
        let peers = Peers::new(self.places);
        let places = Arc::new(Semaphore::new(self.places));
        let connections = TaskTracker::new();
        connections.close();
        loop {
            let place = tokio::select! {
                place = places.clone().acquire_owned() => place,
                () = stop.cancelled() => return connections,
            };
            let Ok(place) = place else { return connections };
            let (stream, peer): (_, SocketAddr) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = stop.cancelled() => return connections,
            };
            let peer_place = match peers.enter(peer.ip()) {
                Some(place) => Some(place),
                // It speaks for everybody, so no share of the places is its own.
                None if self.proxies.trust(peer.ip()) => None,
                None => {
                    tracing::debug!(%peer, "closed at once: this address has its share of all connections");
                    self.handler.metrics().connection_refused();
                    continue;
                }
            };
            let protocols = Protocols {
                tls: self.tls.as_ref().map(|tls| tls.config.borrow().clone()),
                tls_required: self.tls.as_ref().is_some_and(|tls| tls.required),
            };
            let (handler, drain, cut) = (self.handler.clone(), stop.clone(), cut.clone());
            let (idle, counted) = (self.idle, handler.metrics().connection_opened());
            connections.spawn(async move {
                tokio::select! {
                    () = connection::serve(stream, peer, protocols, handler, idle, drain) => {}
                    () = cut.cancelled() => {}
                }
                drop((place, peer_place, counted));
            });
        }
    }
}
