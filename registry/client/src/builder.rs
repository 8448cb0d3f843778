//! Setting up a client: where logins and trust come from, how patient it is, how much it does at once.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderValue;
use registry_types::RegistryHost;
use tokio::sync::Semaphore;

use crate::{
    Client, Credentials, Error,
    auth::TokenCache,
    client::Inner,
    progress::{NoProgress, Progress},
    retry::RetryPolicy,
    transport::{Limits, ProxySettings, TlsSettings, TlsStore, Transport},
};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A registry answers a header from memory or one query; its storage behind it may be slow to wake.
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// GitLab's own proxy cuts idle bodies after a minute as well.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Registries on an object store copy the whole blob before they answer the last request of an upload.
const COMMIT_LIMIT: Duration = Duration::from_secs(600);
/// With [`FIRST_PAUSE`], a registry that is restarted is waited for about ten seconds.
const RETRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// Transfers at once in each direction: enough to fill a link, few enough for a small registry.
const TRANSFERS: usize = 8;
/// Ranges of one blob at once; one TCP connection to a far registry seldom fills the link.
const RANGES_AT_ONCE: usize = 4;
/// Length of a range, in bytes: long enough that a round trip does not count, short enough that a cut costs little.
const RANGE_LENGTH: u64 = 8 << 20;
/// Length of a chunk of a pushed stream, in bytes. Two chunks of each stream are in memory: the one being sent, so that
/// it can be sent again, and the one being read.
const CHUNK_LENGTH: u64 = 8 << 20;

/// Builds a [`Client`]. Without further settings it takes logins, authorities and proxies from the environment, as
/// docker does.
#[must_use]
pub struct ClientBuilder {
    credentials: Option<Credentials>,
    authorities: Vec<PathBuf>,
    host_folders: Vec<PathBuf>,
    native_authorities: bool,
    insecure: Vec<RegistryHost>,
    proxies: Option<Vec<(String, String)>>,
    limits: Limits,
    retry: RetryPolicy,
    transfers: usize,
    ranges_at_once: usize,
    range_length: u64,
    chunk_length: u64,
    user_agent: String,
    http2: bool,
    progress: Arc<dyn Progress>,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("credentials", &self.credentials)
            .field("authorities", &self.authorities)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

impl ClientBuilder {
    pub(crate) fn new() -> Self {
        Self {
            credentials: None,
            // GitLab CI gives the authority of a private instance in this variable.
            authorities: std::env::var_os("CI_SERVER_TLS_CA_FILE")
                .map(PathBuf::from)
                .filter(|path| path.is_file())
                .into_iter()
                .collect(),
            host_folders: vec![PathBuf::from(crate::transport::DOCKER_CERTIFICATES)],
            native_authorities: true,
            insecure: Vec::new(),
            proxies: None,
            limits: Limits {
                connect: CONNECT_LIMIT,
                header: HEADER_LIMIT,
                idle: IDLE_LIMIT,
                commit: COMMIT_LIMIT,
            },
            retry: RetryPolicy { retries: RETRIES, pause: FIRST_PAUSE },
            transfers: TRANSFERS,
            ranges_at_once: RANGES_AT_ONCE,
            range_length: RANGE_LENGTH,
            chunk_length: CHUNK_LENGTH,
            user_agent: concat!("slipway/", env!("CARGO_PKG_VERSION")).to_owned(),
            http2: false,
            progress: Arc::new(NoProgress),
        }
    }

    /// Where logins come from; else [`Credentials::from_environment`].
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Trusts the authorities in a PEM file, beside the machine's own.
    pub fn authority_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(path.into());
        self
    }

    /// Whether the machine's authorities are trusted (`SSL_CERT_FILE`, `SSL_CERT_DIR`, else the system's).
    pub fn native_authorities(mut self, trusted: bool) -> Self {
        self.native_authorities = trusted;
        self
    }

    /// Replaces `/etc/docker/certs.d`: a folder with one folder per `host[:port]` that holds `*.crt` (authorities)
    /// and `*.cert` with `*.key` (our own certificate).
    pub fn host_certificates(mut self, folder: impl Into<PathBuf>) -> Self {
        self.host_folders = vec![folder.into()];
        self
    }

    /// Hosts that may speak plain HTTP, or TLS with any certificate, as docker's `insecure-registries`. Without a
    /// port the name stands for each of its ports.
    pub fn insecure(mut self, hosts: impl IntoIterator<Item = RegistryHost>) -> Self {
        self.insecure.extend(hosts);
        self
    }

    /// Replaces the environment for `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
    pub fn proxies(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.proxies = Some(variables.into_iter().collect());
        self
    }

    /// How long a TCP connection, and a TLS handshake, may take.
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.limits.connect = limit;
        self
    }

    /// How long the answer to a request without body may take.
    pub fn header_limit(mut self, limit: Duration) -> Self {
        self.limits.header = limit;
        self
    }

    /// How long a body may stand still, in either direction.
    pub fn idle_limit(mut self, limit: Duration) -> Self {
        self.limits.idle = limit;
        self
    }

    /// How long a registry may take to answer when it has a whole upload.
    pub fn commit_limit(mut self, limit: Duration) -> Self {
        self.limits.commit = limit;
        self
    }

    /// How often a request is repeated after its first failure, and the pause before the first repetition, which
    /// doubles each time.
    pub fn retries(mut self, retries: u32, first_pause: Duration) -> Self {
        self.retry = RetryPolicy { retries, pause: first_pause };
        self
    }

    /// Transfers at once, in each direction.
    pub fn transfers(mut self, transfers: usize) -> Self {
        self.transfers = transfers.max(1);
        self
    }

    /// Ranges of one blob pulled at once, and their length in bytes. One means a single stream.
    pub fn ranges(mut self, at_once: usize, length: u64) -> Self {
        self.ranges_at_once = at_once.max(1);
        self.range_length = length.max(1);
        self
    }

    /// Length of a chunk of a pushed stream, in bytes; kept in memory.
    pub fn chunk_length(mut self, length: u64) -> Self {
        self.chunk_length = length.max(1);
        self
    }

    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Offers HTTP/2 on TLS. Off by default: for few large transfers HTTP/1.1 has less work per byte.
    pub fn http2(mut self, offered: bool) -> Self {
        self.http2 = offered;
        self
    }

    /// Told how far each blob has come.
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// # Errors
    /// [`Error::Setting`] when a proxy variable or the user agent cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let proxy = match &self.proxies {
            None => ProxySettings::from_environment()?,
            Some(variables) => ProxySettings::from_variables(|name| {
                variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
            })?,
        };
        let user_agent = HeaderValue::try_from(&self.user_agent).map_err(|_| Error::Setting {
            setting: "the user agent".to_owned(),
            reason: "it holds characters that no header may hold".to_owned(),
        })?;
        let tls = TlsStore::new(TlsSettings {
            authorities: self.authorities,
            host_folders: self.host_folders,
            native: self.native_authorities,
            unchecked: self.insecure.clone(),
            http2: self.http2,
        });
        Ok(Client {
            inner: Arc::new(Inner {
                transport: Transport::new(Arc::new(tls), proxy, self.limits, user_agent),
                credentials: self.credentials.unwrap_or_else(Credentials::from_environment),
                insecure: self.insecure,
                retry: self.retry,
                tokens: TokenCache::default(),
                hosts: Mutex::new(HashMap::new()),
                pulls: Arc::new(Semaphore::new(self.transfers)),
                pushes: Arc::new(Semaphore::new(self.transfers)),
                progress: self.progress,
                ranges_at_once: self.ranges_at_once,
                range_length: self.range_length,
                chunk_length: self.chunk_length,
            }),
        })
    }
}
