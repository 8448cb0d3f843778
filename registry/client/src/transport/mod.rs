//! One HTTP exchange: connection pool, TLS, proxies, time limits. Knows nothing of registries; every failure is
//! named by the host it happened with, never by the URL.

mod connector;
mod payload;
mod proxy;
mod tls;
mod trust;

use std::{
    error::Error as _,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, Response, header};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client as Pool,
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

pub(crate) use connector::ConnectError;
use connector::Connector;
use payload::Body;
pub(crate) use payload::{Activity, Meter, PIECE, Payload};
pub(crate) use proxy::ProxySettings;
pub(crate) use tls::{DOCKER_CERTIFICATES, TlsSettings, TlsStore};
pub use trust::{Trust, tls_config_blocking};

use crate::{Error, error::chain};

/// Idle connections kept per host: as many as transfers run at once by default, twice.
const IDLE_CONNECTIONS: usize = 16;

/// How long an idle connection is kept; registries and their proxies close theirs after a minute or more.
const IDLE_CONNECTION_LIFE: Duration = Duration::from_secs(45);

/// The time limits of an exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// TCP connect and TLS handshake, each.
    pub(crate) connect: Duration,
    /// From the request's end to the answer's header, for a request without body.
    pub(crate) header: Duration,
    /// Between two pieces of a body, in either direction.
    pub(crate) idle: Duration,
    /// From the end of a request's body to the answer: a registry may sync or copy the blob before it answers.
    pub(crate) commit: Duration,
}

#[derive(Clone)]
pub(crate) struct Transport {
    pool: Pool<Connector, Body>,
    proxy: Arc<ProxySettings>,
    limits: Limits,
    user_agent: http::HeaderValue,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Transport {
    pub(crate) fn new(
        tls: Arc<TlsStore>,
        proxy: ProxySettings,
        limits: Limits,
        user_agent: http::HeaderValue,
    ) -> Self {
        let proxy = Arc::new(proxy);
        let connector = Connector::new(tls, Arc::clone(&proxy), limits.connect);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_LIFE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { pool, proxy, limits, user_agent }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Sends one request and gives the answer's header; the body is still to be read.
    pub(crate) async fn exchange(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        payload: &Payload,
        meter: Option<Meter>,
    ) -> Result<Response<Incoming>, Error> {
        let host = authority(url);
        let mut request = Request::builder().method(method).uri(url.as_str());
        if let Some(target) = request.headers_mut() {
            target.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
            target.insert(header::USER_AGENT, self.user_agent.clone());
            if url.scheme() == "http"
                && let Some(login) = self.proxy.authorization_for(url)
            {
                target.insert(header::PROXY_AUTHORIZATION, login);
            }
            if payload.length() > 0 || matches!(*method, Method::PUT | Method::POST | Method::PATCH) {
                target.insert(header::CONTENT_LENGTH, payload.length().into());
            }
        }
        let activity = Activity::start();
        let body = payload.body(activity.clone(), meter);
        let request = request
            .body(body)
            .map_err(|error| Error::reply(&host, format!("its address is not valid: {error}")))?;
        let answer = self.pool.request(request);
        tokio::pin!(answer);
        loop {
            let limit = if payload.length() == 0 {
                self.limits.header + self.limits.connect
            } else if activity.is_complete() {
                self.limits.commit
            } else {
                self.limits.idle + self.limits.connect
            };
            let deadline = activity.last() + limit;
            match tokio::time::timeout_at(deadline.into(), &mut answer).await {
                Ok(answer) => return answer.map_err(|error| failure(host, &error)),
                Err(_) if activity.last() + limit > Instant::now() => {}
                // The body ended meanwhile: another limit holds from here.
                Err(_) if payload.length() > 0 && activity.is_complete() && limit < self.limits.commit => {}
                Err(_) => return Err(Error::Timeout { host, waiting: "answering a request", waited: limit }),
            }
        }
    }
}

/// `host[:port]` of a URL: the only part of it that messages show.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether two URLs have the same scheme, host and port (RFC 6454 section 5).
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

fn failure(host: String, error: &hyper_util::client::legacy::Error) -> Error {
    let mut below = error.source();
    while let Some(cause) = below {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            return connect.to_error(host);
        }
        below = cause.source();
    }
    Error::Network { host, reason: chain(error) }
}
