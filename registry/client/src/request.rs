//! Sending a request until it has an answer worth reading: authorized, redirected, retried.
//!
//! Guarantees: `Authorization` goes to the registry's own origin only; a token that expired meanwhile is renewed
//! once and the request sent again; only requests that may be repeated are.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use registry_types::{RegistryHost, RepositoryName};
use serde::Deserialize;
use url::Url;

use crate::{
    Error,
    auth::{DEFAULT_LIFE, Mode, ScopeSet, Token},
    client::Inner,
    credentials::{Credential, Found},
    host::Host,
    reply::Reply,
    retry::retry_after,
    secret::Secret,
    transport::{Meter, Payload, authority, same_origin},
};

/// Most redirects followed for one request; a registry needs one, its storage perhaps another.
const MOST_REDIRECTS: usize = 5;

/// Longest answer of a token server, in bytes. GitLab's tokens have a few kilobytes.
const LONGEST_TOKEN_ANSWER: u64 = 1 << 20;

/// One request to a registry.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) scopes: ScopeSet,
    /// For messages: "pulling manifest a:b".
    pub(crate) action: String,
    /// Whether it may be sent again after a failure of which nobody knows how far it came.
    pub(crate) repeatable: bool,
    pub(crate) meter: Option<Meter>,
    /// Whose login is used, if logins depend on the path.
    pub(crate) repository: Option<RepositoryName>,
}

impl Call {
    pub(crate) fn new(method: Method, url: Url, scopes: ScopeSet, action: String) -> Self {
        let repeatable = method.is_idempotent();
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            scopes,
            action,
            repeatable,
            meter: None,
            repository: None,
        }
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

impl Inner {
    /// Sends `call`. The answer may have any status but those dealt with here: 401 with a better token,
    /// redirects of reads, and 429 or 5xx of repeatable requests while there are retries left.
    pub(crate) async fn send(&self, host: &Host, call: &Call) -> Result<Reply, Error> {
        let base = self.base(host).await?;
        let own = same_origin(base, &call.url);
        let mut scopes = call.scopes.clone();
        let mut refused: Option<HeaderValue> = None;
        // What a 401 means if no better token can be had.
        let mut denial: Option<Error> = None;
        let mut attempt = 0;
        loop {
            let mode = host.mode();
            let token =
                if own { self.token(host, call, &mode, &scopes, refused.as_ref()).await? } else { None };
            let header = token.as_ref().map(|token| &token.header);
            if header == refused.as_ref()
                && let Some(denial) = denial.take()
            {
                return Err(denial);
            }
            let outcome = self.follow(host, call, header).await;
            attempt += 1;
            let pause = match &outcome {
                Ok(reply)
                    if reply.status() == StatusCode::UNAUTHORIZED && own && same_origin(base, &reply.url) =>
                {
                    let scope = self.learn(host, base, reply)?;
                    let last = refused.is_some() || (token.is_none() && mode != Mode::Open);
                    let error = self.unauthorized(outcome?, token.as_ref()).await;
                    if last {
                        return Err(error);
                    }
                    denial = Some(error);
                    attempt -= 1;
                    scopes = scopes.with_challenge(scope.as_deref());
                    refused = token.map(|token| token.header);
                    continue;
                }
                Ok(reply)
                    if call.repeatable && matches!(reply.status().as_u16(), 429 | 500 | 502..=504)
                        || reply.status() == StatusCode::TOO_MANY_REQUESTS =>
                {
                    self.retry.pause(attempt, retry_after(reply.response.headers()))
                }
                Err(error) if call.repeatable && error.is_transient() => self.retry.pause(attempt, None),
                _ => None,
            };
            let Some(pause) = pause else { return outcome };
            tracing::debug!(host = %host.name, action = call.action, ?pause, "trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn unauthorized(&self, reply: Reply, token: Option<&Token>) -> Error {
        let place = token.and_then(|token| token.place.as_deref());
        match reply.into_error().await {
            Error::Unauthorized { host, action, reason } => Error::Unauthorized {
                host,
                action,
                reason: match place {
                    Some(place) => format!("the login from {place} is not enough ({reason})"),
                    None => format!("no login for it was found ({reason})"),
                },
            },
            other => other,
        }
    }

    /// One exchange, and for reads the redirects it leads to.
    async fn follow(
        &self,
        host: &Host,
        call: &Call,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, Error> {
        let mut headers = call.headers.clone();
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let mut url = call.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let response = self
                .transport
                .exchange(&call.method, &url, &headers, &call.payload, call.meter.clone())
                .await?;
            let reply = Reply {
                response,
                url: url.clone(),
                host: host.name.to_string(),
                action: call.action.clone(),
                idle: self.transport.limits().idle,
            };
            let redirect = matches!(reply.status().as_u16(), 301 | 302 | 303 | 307 | 308)
                && matches!(call.method, Method::GET | Method::HEAD);
            let Some(target) = reply.header(header::LOCATION).filter(|_| redirect) else {
                return Ok(reply);
            };
            let target = url
                .join(target)
                .map_err(|error| Error::reply(&host.name, format!("its redirect is not a URL: {error}")))?;
            if !matches!(target.scheme(), "http" | "https") {
                return Err(Error::reply(&host.name, "its redirect is neither http nor https"));
            }
            if target.scheme() == "http" && !(url.scheme() == "http" && url.host_str() == target.host_str()) {
                self.check_plain(&target)?;
            }
            if !same_origin(&url, &target) {
                headers.remove(header::AUTHORIZATION);
            }
            reply.discard().await;
            url = target;
        }
        Err(Error::reply(&host.name, format!("it redirected more than {MOST_REDIRECTS} times")))
    }

    async fn token(
        &self,
        host: &Host,
        call: &Call,
        mode: &Mode,
        scopes: &ScopeSet,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<Token>, Error> {
        // User and password do not depend on the scopes.
        let scopes = if *mode == Mode::Basic { &ScopeSet::default() } else { scopes };
        if *mode == Mode::Open {
            return Ok(None);
        }
        let slot = match &call.repository {
            // Logins may depend on the path, and Basic has no scopes to tell the slots apart.
            Some(repository) => format!("{}/{repository}", host.name),
            None => host.name.to_string(),
        };
        self.tokens
            .get(&slot, mode, scopes, refused, async {
                let found = self.credentials.find(&host.name, call.repository.as_ref()).await?;
                match mode {
                    Mode::Open => Ok(None),
                    Mode::Basic => basic_token(host, found),
                    Mode::Bearer { realm, service } => {
                        self.fetch_token(host, call, realm, service.as_deref(), scopes, found).await
                    }
                }
            })
            .await
    }

    async fn fetch_token(
        &self,
        host: &Host,
        call: &Call,
        realm: &Url,
        service: Option<&str>,
        scopes: &ScopeSet,
        found: Option<Found>,
    ) -> Result<Option<Token>, Error> {
        let place = found.as_ref().map(|found| found.place.clone());
        let mut url = realm.clone();
        let mut request = Call::new(Method::GET, url.clone(), ScopeSet::default(), call.action.clone());
        match found.map(|found| found.credential) {
            Some(Credential::RegistryToken(token)) => {
                let header = bearer(host, &token)?;
                return Ok(Some(Token { header, expires: None, place }));
            }
            Some(Credential::IdentityToken(token)) => {
                let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
                let mut form = url::form_urlencoded::Serializer::new(String::new());
                form.append_pair("grant_type", "refresh_token")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("client_id", "slipway")
                    .append_pair("scope", &scopes.join(" "))
                    .append_pair("refresh_token", token.expose());
                request.method = Method::POST;
                // Asking for a token again does no harm.
                request.repeatable = true;
                request.payload = Payload::Bytes(form.finish().into());
                request = request.header(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                );
            }
            basic => {
                {
                    let mut query = url.query_pairs_mut();
                    if let Some(service) = service {
                        query.append_pair("service", service);
                    }
                    for scope in scopes.iter() {
                        query.append_pair("scope", &scope.to_string());
                    }
                    query.append_pair("client_id", "slipway");
                }
                if let Some(Credential::Basic { user, password }) = basic {
                    request = request.header(header::AUTHORIZATION, basic_header(host, &user, &password)?);
                }
            }
        }
        request.url = url;
        let reply = self.ask_realm(host, &request).await?;
        let realm_host = authority(realm);
        match reply.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let reason = match &place {
                    Some(place) => format!("the login from {place} was refused by {realm_host}"),
                    None => format!("{realm_host} gives no token without a login"),
                };
                let (host, action) = (host.name.to_string(), call.action.clone());
                return Err(Error::Unauthorized { host, action, reason });
            }
            _ => return Err(reply.into_error().await),
        }
        let body = reply.bytes(LONGEST_TOKEN_ANSWER).await?;
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| Error::reply(&realm_host, "its token answer is not JSON with a token"))?;
        let token = answer
            .token
            .or(answer.access_token)
            .filter(|token| !token.is_empty())
            .ok_or_else(|| Error::reply(&realm_host, "its answer holds no token"))?;
        let life = answer.expires_in.map_or(DEFAULT_LIFE, Duration::from_secs);
        Ok(Some(Token::living(bearer(host, &token)?, life, place)))
    }

    /// Like [`Inner::send`] for the token server, which has no token of its own.
    async fn ask_realm(&self, host: &Host, request: &Call) -> Result<Reply, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let outcome = self.follow(host, request, None).await;
            let pause = match &outcome {
                Ok(reply) if matches!(reply.status().as_u16(), 429 | 500 | 502..=504) => {
                    self.retry.pause(attempt, retry_after(reply.response.headers()))
                }
                Err(error) if error.is_transient() => self.retry.pause(attempt, None),
                _ => None,
            };
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return outcome,
            }
        }
    }

    pub(crate) fn host(&self, name: &RegistryHost) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(hosts.entry(name.clone()).or_insert_with(|| Arc::new(Host::new(name.clone()))))
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Secret>,
    access_token: Option<Secret>,
    /// Seconds.
    expires_in: Option<u64>,
}

fn basic_token(host: &Host, found: Option<Found>) -> Result<Option<Token>, Error> {
    let Some(Found { credential, place }) = found else { return Ok(None) };
    let header = match credential {
        Credential::Basic { user, password } => basic_header(host, &user, &password)?,
        Credential::RegistryToken(token) => bearer(host, &token)?,
        Credential::IdentityToken(_) => {
            return Err(Error::Credentials {
                place,
                reason: format!(
                    "{} wants a user and password, and the entry is an identity token",
                    host.name
                ),
            });
        }
    };
    Ok(Some(Token { header, expires: None, place: Some(place) }))
}

fn basic_header(host: &Host, user: &str, password: &Secret) -> Result<HeaderValue, Error> {
    let pair = Secret::new(format!("{user}:{}", password.expose()));
    sensitive(host, &Secret::new(format!("Basic {}", STANDARD.encode(pair.expose()))))
}

fn bearer(host: &Host, token: &Secret) -> Result<HeaderValue, Error> {
    sensitive(host, &Secret::new(format!("Bearer {}", token.expose())))
}

fn sensitive(host: &Host, text: &Secret) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::try_from(text.expose())
        .map_err(|_| Error::reply(&host.name, "its token has characters that no header may hold"))?;
    value.set_sensitive(true);
    Ok(value)
}
