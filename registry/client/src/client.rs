//! The client and its handle on one repository. Both are cheap to clone and share connections, tokens and limits.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use http::Method;
use registry_types::{ImageReference, RegistryHost, RepositoryName};
use tokio::sync::Semaphore;
use url::Url;

use crate::{
    ClientBuilder, Error,
    auth::{Scope, ScopeSet, TokenCache},
    credentials::Credentials,
    host::Host,
    progress::Progress,
    reply::Reply,
    request::Call,
    retry::RetryPolicy,
    transport::Transport,
};

/// Everything that the handles share.
pub(crate) struct Inner {
    pub(crate) transport: Transport,
    pub(crate) credentials: Credentials,
    pub(crate) insecure: Vec<RegistryHost>,
    pub(crate) retry: RetryPolicy,
    pub(crate) tokens: TokenCache,
    pub(crate) hosts: Mutex<HashMap<RegistryHost, Arc<Host>>>,
    /// Pulls and pushes are counted apart: a copy that holds a pull while it waits for a push can then not wait
    /// for itself.
    pub(crate) pulls: Arc<Semaphore>,
    pub(crate) pushes: Arc<Semaphore>,
    pub(crate) progress: Arc<dyn Progress>,
    /// Ranges of one blob that are pulled at once.
    pub(crate) ranges_at_once: usize,
    /// Length of such a range, in bytes.
    pub(crate) range_length: u64,
    /// Length of a chunk of a pushed stream, in bytes.
    pub(crate) chunk_length: u64,
}

impl Inner {
    /// A permit of one of the two semaphores, which are never closed.
    pub(crate) async fn permit(semaphore: &Arc<Semaphore>) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(semaphore).acquire_owned().await.expect("the semaphore is never closed")
    }
}

/// A client of any number of registries.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("credentials", &self.inner.credentials).finish_non_exhaustive()
    }
}

impl Client {
    /// A client to be set up; see [`ClientBuilder`].
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    /// A handle on the repository that `image` names. Nothing is asked yet.
    pub fn repository(&self, image: &ImageReference) -> Repository {
        self.repository_at(image.registry.clone(), image.repository.clone())
    }

    /// A handle on the repository `name` of the registry `host`. Nothing is asked yet.
    pub fn repository_at(&self, host: RegistryHost, name: RepositoryName) -> Repository {
        Repository { inner: Arc::clone(&self.inner), host: self.inner.host(&host), name }
    }

    /// Reaches a registry and, if it wants a login, logs in: what `docker login` checks. Gives the URL found.
    pub async fn check(&self, host: &RegistryHost) -> Result<String, Error> {
        let host = self.inner.host(host);
        let base = self.inner.base(&host).await?;
        let action = "reaching /v2/".to_owned();
        let reply = self
            .inner
            .send(&host, &Call::new(Method::GET, base.clone(), ScopeSet::default(), action))
            .await?;
        if !reply.status().is_success() {
            return Err(reply.into_error().await);
        }
        reply.discard().await;
        Ok(base.to_string())
    }
}

/// One repository of one registry.
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
    pub(crate) host: Arc<Host>,
    pub(crate) name: RepositoryName,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({self})")
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host.name, self.name)
    }
}

impl Repository {
    pub fn registry(&self) -> &RegistryHost {
        &self.host.name
    }

    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The URL of something below the repository, such as `blobs/sha256:...`.
    pub(crate) async fn url(&self, rest: &str) -> Result<Url, Error> {
        let base = self.inner.base(&self.host).await?;
        base.join(&format!("{}/{rest}", self.name))
            .map_err(|error| Error::reply(&self.host.name, format!("a path below it makes no URL: {error}")))
    }

    pub(crate) fn call(&self, method: Method, url: Url, scopes: impl Into<ScopeSet>, action: String) -> Call {
        let mut call = Call::new(method, url, scopes.into(), action);
        call.repository = Some(self.name.clone());
        call
    }

    pub(crate) fn pull_scope(&self) -> Scope {
        Scope::pull(&self.name)
    }

    pub(crate) fn push_scope(&self) -> Scope {
        Scope::push(&self.name)
    }

    pub(crate) async fn send(&self, call: &Call) -> Result<Reply, Error> {
        self.inner.send(&self.host, call).await
    }

    /// Sends a call whose answer must have one of the statuses `wanted`.
    pub(crate) async fn expect(&self, call: &Call, wanted: &[u16]) -> Result<Reply, Error> {
        let reply = self.send(call).await?;
        if wanted.contains(&reply.status().as_u16()) { Ok(reply) } else { Err(reply.into_error().await) }
    }
}
