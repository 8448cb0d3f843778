//! Exchanges with one registry: where it is, who asks, and the tokens got so far.

use std::{collections::HashMap, time::Duration};

use base64::Engine;
use http::Method;
use registry_client::{Challenge, Secret, Trust, parse_challenges};
use tokio::{io::AsyncWriteExt, sync::Mutex};
use url::Url;

use super::{
    Answer, ClientError, Request,
    connection::{Connector, Stream},
    wire,
};
use crate::{Credentials, Target};

/// How long one exchange may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a registry wants to be told who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scheme {
    /// It does not.
    Open,
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

#[derive(Debug)]
pub(crate) struct Session {
    target: Target,
    credentials: Option<Credentials>,
    connector: Connector,
    scheme: Scheme,
    /// Tokens by the scopes they were asked for; a run needs one for each repository it makes.
    tokens: Mutex<HashMap<String, Secret>>,
}

impl Session {
    /// Asks the registry how it wants to be spoken to.
    pub(crate) async fn open(
        target: &Target,
        credentials: Option<&Credentials>,
    ) -> Result<Self, ClientError> {
        let trust = if target.is_unchecked() { Trust::Anyone } else { Trust::Native };
        let connector = Connector::new(trust)
            .await
            .map_err(|reason| ClientError::Exchange { what: "setting up TLS".to_owned(), reason })?;
        let mut session = Self {
            target: target.clone(),
            credentials: credentials.cloned(),
            connector,
            scheme: Scheme::Open,
            tokens: Mutex::default(),
        };
        let answer = session.send_plain(&Request::get("/v2/")).await?;
        if answer.status == 401 {
            let offered = answer.header("www-authenticate").map(parse_challenges).unwrap_or_default();
            let bearer = offered.into_iter().find_map(|challenge| match challenge {
                Challenge::Bearer { realm, service, .. } => Some(Scheme::Bearer { realm, service }),
                Challenge::Basic => None,
            });
            session.scheme = bearer.unwrap_or(Scheme::Basic);
        }
        Ok(session)
    }

    /// Whether the registry sends its callers for tokens.
    pub(crate) fn asks_for_tokens(&self) -> bool {
        matches!(self.scheme, Scheme::Bearer { .. })
    }

    /// Whether the registry lets everyone do everything.
    pub(crate) fn is_open(&self) -> bool {
        self.scheme == Scheme::Open
    }

    /// Sends a request with the right to make it. A token that has expired is renewed once.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, ClientError> {
        let answer = self.send_plain(&self.authorized(request).await?).await?;
        if answer.status != 401 || !self.asks_for_tokens() {
            return Ok(answer);
        }
        self.tokens.lock().await.remove(&request.scopes.join(" "));
        self.send_plain(&self.authorized(request).await?).await
    }

    /// Sends a request as it is.
    pub(crate) async fn send_plain(&self, request: &Request) -> Result<Answer, ClientError> {
        let asked = format!("{} {}", request.method, request.target);
        let failed = |reason: String| ClientError::Exchange { what: asked.clone(), reason };
        tokio::time::timeout(PATIENCE, self.exchange(request, asked.clone()))
            .await
            .map_err(|_| failed(format!("no answer within {} seconds", PATIENCE.as_secs())))?
            .map_err(failed)
    }

    async fn exchange(&self, request: &Request, asked: String) -> Result<Answer, String> {
        let url = self.resolve(&request.target)?;
        let stream =
            self.connector.connect(&url).await.map_err(|error| format!("cannot connect: {error}"))?;
        let (read, mut write) = tokio::io::split(stream);
        let head = wire::head(request, &url);
        let send = async {
            write.write_all(head.as_bytes()).await?;
            write.write_all(&request.body).await?;
            write.flush().await
        };
        // At the same time: a registry may refuse what it has not read to the end. Then only its answer counts.
        let (sent, received) = tokio::join!(send, wire::receive(read, request.method == Method::HEAD));
        let (status, headers, body) = received.map_err(|error| match sent {
            Ok(()) => error,
            Err(sent) => format!("{error}, after the request was cut: {sent}"),
        })?;
        Ok(Answer { asked, status, headers, body })
    }

    /// Sends the head of a request that announces the whole body, a part of the body, and then hangs up.
    pub(crate) async fn cut(&self, request: &Request, sent: usize) -> Result<(), ClientError> {
        let request = self.authorized(request).await?;
        let what = format!("{} {} cut after {sent} bytes", request.method, request.target);
        let failed = |reason: String| ClientError::Exchange { what: what.clone(), reason };
        let url = self.resolve(&request.target).map_err(failed)?;
        let head = wire::head(&request, &url);
        let part = request.body.slice(..sent.min(request.body.len()));
        let exchange = async {
            let mut stream: Box<dyn Stream> = self.connector.connect(&url).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&part).await?;
            stream.flush().await?;
            // What is on its way is to arrive before the end does.
            stream.shutdown().await
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| failed("it was not taken in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))
    }

    /// The URL that a path or a `Location` stands for.
    fn resolve(&self, target: &str) -> Result<Url, String> {
        self.target.url().join(target).map_err(|error| format!("{target:?} is no URL: {error}"))
    }

    async fn authorized(&self, request: &Request) -> Result<Request, ClientError> {
        let value = match (&self.scheme, &self.credentials) {
            (Scheme::Open, _) | (Scheme::Basic, None) => return Ok(request.clone()),
            (Scheme::Basic, Some(credentials)) => basic(credentials),
            (Scheme::Bearer { .. }, _) => format!("Bearer {}", self.token(&request.scopes).await?.expose()),
        };
        Ok(request.clone().header("authorization", value))
    }

    /// A token for `scopes`.
    pub(crate) async fn token(&self, scopes: &[String]) -> Result<Secret, ClientError> {
        let wanted = scopes.join(" ");
        if let Some(token) = self.tokens.lock().await.get(&wanted) {
            return Ok(token.clone());
        }
        let failed = |reason: String| ClientError::Token { scopes: wanted.clone(), reason };
        let answer = self.ask_for_token(scopes, self.credentials.as_ref()).await?;
        let answer = answer.expect(&[200]).map_err(failed)?;
        let body = answer.json().map_err(failed)?;
        let token = ["token", "access_token"].iter().find_map(|name| body.get(name)?.as_str());
        let token = token.ok_or_else(|| failed("the answer holds no token".to_owned()))?;
        let token = Secret::new(token);
        self.tokens.lock().await.insert(wanted, token.clone());
        Ok(token)
    }

    /// Asks the token server, with or without saying who asks.
    pub(crate) async fn ask_for_token(
        &self,
        scopes: &[String],
        credentials: Option<&Credentials>,
    ) -> Result<Answer, ClientError> {
        let Scheme::Bearer { realm, service } = &self.scheme else {
            let reason = "the registry sends nobody for tokens".to_owned();
            return Err(ClientError::Token { scopes: scopes.join(" "), reason });
        };
        let mut url =
            self.resolve(realm).map_err(|reason| ClientError::Token { scopes: scopes.join(" "), reason })?;
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = service {
                query.append_pair("service", service);
            }
            for scope in scopes {
                query.append_pair("scope", scope);
            }
        }
        let mut request = Request::get(url.as_str());
        if let Some(credentials) = credentials {
            request = request.header("authorization", basic(credentials));
        }
        self.send_plain(&request).await
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

fn basic(credentials: &Credentials) -> String {
    let pair = format!("{}:{}", credentials.username, credentials.password.expose());
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}
