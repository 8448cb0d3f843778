//! What is known of each registry: whether it speaks HTTPS or HTTP, and how it wants to be authorized. Found out
//! once per host by asking `/v2/`. HTTP is tried only for loopback and for hosts that the user named insecure.

use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, Method, header};
use registry_types::{DOCKER_HUB, RegistryHost};
use tokio::sync::OnceCell;
use url::Url;

use crate::{
    Error,
    auth::{Challenge, Mode, parse_challenges},
    client::Inner,
    reply::Reply,
    retry::retry_after,
    transport::{Payload, authority},
};

/// Where Docker Hub's registry really is.
const DOCKER_HUB_REGISTRY: &str = "registry-1.docker.io";

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: RegistryHost,
    base: OnceCell<Url>,
    mode: Mutex<Mode>,
}

impl Host {
    pub(crate) fn new(name: RegistryHost) -> Self {
        Self { name, base: OnceCell::new(), mode: Mutex::new(Mode::Open) }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

impl Inner {
    /// The root of a registry's URLs, with its scheme.
    pub(crate) async fn base<'h>(&self, host: &'h Host) -> Result<&'h Url, Error> {
        host.base.get_or_try_init(|| self.discover(host)).await
    }

    /// Whether plain HTTP is fine towards this host.
    pub(crate) fn may_be_plain(&self, host: &str, port: Option<u16>) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host.parse::<RegistryHost>().is_ok_and(|host| host.is_loopback())
            || self
                .insecure
                .iter()
                .any(|known| known.host() == bare && known.port().is_none_or(|known| Some(known) == port))
    }

    pub(crate) fn check_plain(&self, url: &Url) -> Result<(), Error> {
        if url.scheme() == "https" || self.may_be_plain(url.host_str().unwrap_or_default(), url.port()) {
            return Ok(());
        }
        Err(Error::InsecureRefused { host: authority(url) })
    }

    async fn discover(&self, host: &Host) -> Result<Url, Error> {
        let name = if host.name.as_str() == DOCKER_HUB { DOCKER_HUB_REGISTRY } else { host.name.as_str() };
        let root = |scheme: &str| {
            Url::parse(&format!("{scheme}://{name}/v2/"))
                .map_err(|error| Error::reply(name, format!("its name makes no URL: {error}")))
        };
        let (secure, plain) = (root("https")?, root("http")?);
        let plain_allowed = self.may_be_plain(secure.host_str().unwrap_or_default(), host.name.port());
        let mut attempt = 0;
        loop {
            attempt += 1;
            let outcome = match self.ping(host, &secure).await {
                Err(error) if plain_allowed && may_mean_plain(&error) => {
                    match self.ping(host, &plain).await {
                        Ok(pause) => Ok((&plain, pause)),
                        // Nobody is there at all: the first error is the one that a secure registry would give.
                        Err(Error::Network { .. } | Error::Timeout { .. })
                            if !matches!(error, Error::InsecureRefused { .. }) =>
                        {
                            Err(error)
                        }
                        Err(error) => Err(error),
                    }
                }
                outcome => outcome.map(|pause| (&secure, pause)),
            };
            let (pause, failed) = match outcome {
                Ok((base, None)) => return Ok(base.clone()),
                Ok((_, Some((error, asked)))) => (self.retry.pause(attempt, asked), error),
                Err(error) if error.is_transient() => (self.retry.pause(attempt, None), error),
                Err(error) => return Err(error),
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(failed),
            }
        }
    }

    /// Asks `/v2/` and learns from the challenge. `Some` when the registry is there and busy.
    async fn ping(
        &self,
        host: &Host,
        url: &Url,
    ) -> Result<Option<(Error, Option<std::time::Duration>)>, Error> {
        let response =
            self.transport.exchange(&Method::GET, url, &HeaderMap::new(), &Payload::Empty, None).await?;
        let reply = Reply {
            response,
            url: url.clone(),
            host: host.name.to_string(),
            action: "reaching /v2/".to_owned(),
            idle: self.transport.limits().idle,
        };
        match reply.status().as_u16() {
            401 => {
                self.learn(host, url, &reply)?;
                reply.discard().await;
                Ok(None)
            }
            429 | 502..=504 => {
                let asked = retry_after(reply.response.headers());
                Ok(Some((reply.into_error().await, asked)))
            }
            _ => {
                reply.discard().await;
                Ok(None)
            }
        }
    }

    /// Keeps how the registry wants to be authorized, and gives the scope it named.
    pub(crate) fn learn(&self, host: &Host, base: &Url, reply: &Reply) -> Result<Option<String>, Error> {
        let challenges: Vec<Challenge> = reply
            .response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse_challenges)
            .collect();
        for challenge in &challenges {
            if let Challenge::Bearer { realm, service, scope, error } = challenge {
                if let Some(error) = error {
                    tracing::debug!(host = %host.name, error, "the registry refused a token");
                }
                let realm = base.join(realm).map_err(|error| {
                    Error::reply(&host.name, format!("the realm of its challenge is not a URL: {error}"))
                })?;
                self.check_realm(base, &realm)?;
                host.learn(Mode::Bearer { realm, service: service.clone() });
                return Ok(scope.clone());
            }
        }
        if challenges.contains(&Challenge::Basic) {
            // The password goes to `base`, whose scheme was checked when it was chosen.
            host.learn(Mode::Basic);
            return Ok(None);
        }
        Err(Error::reply(&host.name, "it wants a login and names no way that is known (Bearer or Basic)"))
    }

    /// A password may travel in the clear only where the registry itself may: on its own host, or where plain HTTP
    /// is allowed anyway.
    fn check_realm(&self, base: &Url, realm: &Url) -> Result<(), Error> {
        match realm.scheme() {
            "https" => Ok(()),
            "http" if base.scheme() == "http" && base.host_str() == realm.host_str() => Ok(()),
            "http" => self.check_plain(realm),
            _ => Err(Error::reply(authority(base), "the realm of its challenge is neither http nor https")),
        }
    }
}

/// Failures that a plain HTTP server, or none at all on the port of HTTPS, causes.
fn may_mean_plain(error: &Error) -> bool {
    matches!(error, Error::InsecureRefused { .. } | Error::Network { .. } | Error::Timeout { .. })
}
