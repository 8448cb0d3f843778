//! One request: route, authentication, handler, error mapping.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use hyper::body::{Body, Incoming};
use registry_auth::Access;
use registry_blobs::BlobStore;
use registry_core::{CoreError, Registry};
use registry_metadata::Metadata;
use registry_types::ErrorCode;
use tokio_util::sync::CancellationToken;

use crate::{
    authentication::Authenticator,
    body::{FileTransport, ResponseBody},
    caller::{Caller, TrustedProxies},
    error::HttpError,
    handlers::{self, Answer, Failure},
    incoming_body::IncomingBody,
    metrics::Metrics,
    mirrored::mirrored_route,
    query::Query,
    readiness::Readiness,
    redirects::{RedirectFor, Redirects},
    request_id::X_REQUEST_ID,
    request_log::{LoggedBody, RequestLog},
    respond::{API_VERSION, Reply},
    route::{Route, RouteError},
    span::RequestSpan,
};

/// Where a connection came from and how it sends files.
#[derive(Debug, Clone)]
pub(crate) struct RequestOrigin {
    pub(crate) peer: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) transport: FileTransport,
}

/// Answers requests; a trait so that connections need not know the stores.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    fn handle(
        &self,
        origin: RequestOrigin,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<LoggedBody>> + Send;

    /// Where connections are counted.
    fn metrics(&self) -> &Metrics;
}

#[derive(Debug, Clone)]
pub(crate) struct Service<M, B> {
    registry: Registry<M, B>,
    authenticator: Authenticator,
    body_idle: Duration,
    readiness: Arc<Readiness>,
    proxies: Arc<TrustedProxies>,
    redirects: Arc<Redirects>,
    shown: Shown,
    metrics: Metrics,
    /// Cancelled when the server is about to stop: from then on it is not ready.
    stop: CancellationToken,
}

/// Which routes a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The registry and its token server.
    pub(crate) registry: bool,
    pub(crate) health: bool,
    pub(crate) metrics: bool,
}

impl Shown {
    fn has(self, route: &Route) -> bool {
        match route {
            Route::Live | Route::Ready => self.health,
            Route::Metrics => self.metrics,
            _ => self.registry,
        }
    }
}

impl<M: Metadata, B: BlobStore> Service<M, B> {
    pub(crate) fn new(
        registry: Registry<M, B>,
        authenticator: Authenticator,
        body_idle: Duration,
        (proxies, redirects): (TrustedProxies, Redirects),
        stop: CancellationToken,
    ) -> Self {
        Self {
            registry,
            authenticator,
            body_idle,
            readiness: Arc::new(Readiness::new()),
            proxies: Arc::new(proxies),
            redirects: Arc::new(redirects),
            shown: Shown { registry: true, health: true, metrics: false },
            metrics: Metrics::default(),
            stop,
        }
    }

    /// The same on another listener, or with other routes.
    pub(crate) fn showing(self, shown: Shown) -> Self {
        Self { shown, ..self }
    }

    /// What a request does is told as its doing, if anybody wants to hear of it.
    fn told(
        &self,
        origin: &RequestOrigin,
        caller: &Caller,
        parts: &Parts,
        access: &Access,
    ) -> Option<Registry<M, B>> {
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let context = || caller.describe(origin, parts, access.identity().clone());
        self.registry.tells(reads).then(|| self.registry.for_request(context()))
    }

    async fn answer(
        &self,
        (origin, caller): (&RequestOrigin, &Caller),
        route: &Route,
        parts: &Parts,
        body: IncomingBody,
        log: &mut RequestLog,
    ) -> Result<Response<ResponseBody>, HttpError> {
        let allowed = route.methods();
        if parts.method == Method::OPTIONS || !allowed.contains(&parts.method) {
            let list: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            return if parts.method == Method::OPTIONS {
                // GitLab asks this way whether tags can be deleted; any caller with a good token may know.
                let access = self.authenticator.authenticate(caller, &parts.headers);
                access.require_token().map_err(|denied| self.authenticator.denied(caller, parts, &denied))?;
                Ok(Reply::new(StatusCode::OK).header(header::ALLOW, list.join(", ")).done())
            } else {
                let message = format!("{} is not possible here; {} is", parts.method, list.join(", "));
                Err(HttpError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
                    .with_header(header::ALLOW, &list.join(", ")))
            };
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let mirrored = mirrored_route(self.registry.mirrors(), route, &query);
        let route = mirrored.as_ref().unwrap_or(route);
        let answer = match route {
            Route::Live => handlers::base::live(),
            Route::Ready if self.stop.is_cancelled() => {
                Err(CoreError::Unavailable { reason: "the server is stopping".to_owned() }.into())
            }
            Route::Ready => handlers::base::ready(&self.registry, &self.readiness).await,
            Route::Metrics => handlers::base::metrics(&self.registry, &self.metrics).await,
            Route::Keys => handlers::tokens::keys(&self.authenticator),
            Route::Token => {
                let answer = handlers::tokens::issue(
                    &self.registry,
                    &self.authenticator,
                    caller,
                    parts,
                    &query,
                    body,
                    self.body_idle,
                )
                .await;
                self.metrics.token(&answer);
                answer
            }
            _ => {
                let access = self.authenticator.authenticate(caller, &parts.headers);
                log.set_user(access.identity().to_string());
                self.dispatch((origin, caller), route, parts, &query, body, &access).await
            }
        };
        answer.map_err(|failure| match failure {
            Failure::Http(error) => error,
            Failure::Denied(denied) => self.authenticator.denied(caller, parts, &denied),
        })
    }

    async fn dispatch(
        &self,
        (origin, caller): (&RequestOrigin, &Caller),
        route: &Route,
        parts: &Parts,
        query: &Query,
        body: IncomingBody,
        access: &Access,
    ) -> Answer {
        use handlers::{base, blobs, discovery, manifests, uploads};
        if self.registry.limits().read_only && !reads(&parts.method) {
            return Err(read_only(route).into());
        }
        let told = self.told(origin, caller, parts, access);
        let (registry, idle) = (told.as_ref().unwrap_or(&self.registry), self.body_idle);
        let headers = &parts.headers;
        let get = reads(&parts.method);
        match (route, &parts.method) {
            (Route::Base, _) => base::version(access),
            (Route::Catalog, _) => discovery::catalog(registry, access, query).await,
            (Route::Tags(name), _) => discovery::tags(registry, access, query, name).await,
            (Route::Referrers(name, subject), _) => {
                discovery::referrers(registry, access, query, (name, subject)).await
            }
            (Route::Manifest(name, reference), method) if get => {
                manifests::get(registry, access, method, headers, (name, reference)).await
            }
            (Route::Manifest(name, reference), &Method::DELETE) => {
                manifests::delete(registry, access, (name, reference)).await
            }
            (Route::Manifest(name, reference), _) => {
                manifests::put(registry, access, (query, headers), body, idle, (name, reference)).await
            }
            (Route::Blob(name, digest), method) if get => {
                let redirects = RedirectFor { redirects: &self.redirects, address: caller.address };
                let sending = (&origin.transport, redirects);
                blobs::get(registry, access, method, headers, sending, (name, digest)).await
            }
            (Route::Blob(name, digest), _) => blobs::delete(registry, access, (name, digest)).await,
            (Route::Uploads(name), _) => {
                uploads::start(registry, (&self.authenticator, access), (query, headers), body, idle, name)
                    .await
            }
            (Route::Upload(name, id), &Method::PATCH) => {
                uploads::append(registry, access, headers, body, idle, (name, *id)).await
            }
            (Route::Upload(name, id), &Method::PUT) => {
                uploads::complete(registry, access, (query, headers), body, idle, (name, *id)).await
            }
            (Route::Upload(name, id), &Method::DELETE) => {
                uploads::cancel(registry, access, (name, *id)).await
            }
            (Route::Upload(name, id), _) => uploads::status(registry, access, (name, *id)).await,
            // Answered before a token is asked for.
            (Route::Token | Route::Keys | Route::Live | Route::Ready | Route::Metrics, _) => {
                Err(not_found().into())
            }
        }
    }
}

impl<M: Metadata, B: BlobStore> Handler for Service<M, B> {
    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    async fn handle(&self, origin: RequestOrigin, request: Request<Incoming>) -> Response<LoggedBody> {
        let (parts, body) = request.into_parts();
        let caller = Caller::new(&origin, &parts.headers, &self.proxies);
        let route = Route::parse(parts.uri.path())
            .and_then(|route| if self.shown.has(&route) { Ok(route) } else { Err(RouteError::NotFound) });
        let (method, known) = (parts.method.clone(), route.as_ref().ok().cloned());
        let span = RequestSpan::new(&parts, &caller, known.as_ref().map_or("none", Route::name));
        let observers = (self.metrics.clone(), span.clone());
        let mut log = RequestLog::new(&caller, origin.peer, method, known, observers);
        let body = IncomingBody::new(body, &parts, log.received());
        let answer = match (&route, unacceptable(&parts.headers)) {
            (_, Some(error)) => Err(error),
            (Ok(route), None) => {
                span.around(self.answer((&origin, &caller), route, &parts, body, &mut log)).await
            }
            // Whether a malformed path exists is nobody's secret: it needs no token.
            (Err(RouteError::NotFound), None) => Err(not_found()),
            (Err(RouteError::Invalid(code, message)), None) => {
                let status = if *code == ErrorCode::BlobUploadUnknown {
                    StatusCode::NOT_FOUND
                } else {
                    StatusCode::BAD_REQUEST
                };
                Err(HttpError::new(status, *code, message.clone()))
            }
        };
        let mut response = answer.unwrap_or_else(|error| {
            if let Some(reason) = &error.internal {
                tracing::error!(request = %caller.id, reason, path = parts.uri.path(), "a request failed");
            }
            error.into_response()
        });
        complete_head(&mut response, &parts.method);
        response.headers_mut().insert(X_REQUEST_ID, caller.id.header());
        log.follow(response)
    }
}

fn reads(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Docker tries a 503 again and again and takes this for what it is.
fn read_only(route: &Route) -> HttpError {
    let reading: Vec<&str> =
        route.methods().iter().filter(|method| reads(method)).map(Method::as_str).collect();
    let message = "the registry is read-only at the moment: nothing can be pushed or deleted, pulls go on";
    HttpError::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message)
        .with_header(header::ALLOW, &reading.join(", "))
}

fn not_found() -> HttpError {
    HttpError::new(StatusCode::NOT_FOUND, ErrorCode::Unknown, "there is nothing under this path")
}

/// What no route can answer: an expectation that is not met here (RFC 9110 section 10.1.1), and a host that is
/// none (section 7.2) and would end up in a challenge.
pub(crate) fn unacceptable(headers: &HeaderMap) -> Option<HttpError> {
    let unmet = |expectation: &HeaderValue| !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get(header::EXPECT).is_some_and(unmet) {
        let message = "the only expectation that is met here is 100-continue";
        return Some(HttpError::new(StatusCode::EXPECTATION_FAILED, ErrorCode::Unsupported, message));
    }
    // The characters of a host and a port (RFC 3986 section 3.2.2).
    let of_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    if headers.get(header::HOST).is_some_and(|host| !host.as_bytes().iter().all(of_host)) {
        let message = "the Host header does not name a host";
        return Some(HttpError::bad_request(ErrorCode::Unsupported, message));
    }
    None
}

/// The headers of every response, and the end of one to HEAD: it has the length of what GET would bring, and
/// not a byte of it (RFC 9110 section 9.3.2), which HTTP/2 does not see to by itself.
fn complete_head(response: &mut Response<ResponseBody>, method: &Method) {
    let (length, status) = (response.body().size_hint().exact(), response.status());
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    // Whoever pushes a page as a manifest must not get a browser to show it under the registry's name.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let harmless = HeaderValue::from_static("sandbox; default-src 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, harmless);
    if method == Method::HEAD {
        let has_length = !matches!(status, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT);
        if let (true, Some(length)) = (has_length, length) {
            headers.entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
        }
        *response.body_mut() = ResponseBody::empty();
    }
}

#[cfg(test)]
mod reach;
