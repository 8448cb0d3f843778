//! The log line of a request, and its place in the metrics. There is one for each, also for one whose client left or whose connection was cut,
//! and it is written when the last byte of the answer has been handed to the connection or the answer was given up:
//! only then are its bytes and its time known.
//!
//! Bytes are counted where the body gives them out, so a file still goes by sendfile. Of what was handed out the
//! socket may then still have a piece (1 MiB at most) before it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame, SizeHint};

use crate::{
    body::ResponseBody,
    caller::Caller,
    metrics::{MeasuredRequest, Metrics},
    request_id::RequestId,
    respond::{DOCKER_CONTENT_DIGEST, header_text},
    route::Route,
    span::RequestSpan,
};

/// What the line tells; written when dropped.
#[derive(Debug)]
pub(crate) struct RequestLog {
    id: RequestId,
    peer: IpAddr,
    /// The other end of the connection: the peer, or its proxy.
    connection: SocketAddr,
    method: Method,
    started: Instant,
    metrics: Metrics,
    span: RequestSpan,
    route: Option<Route>,
    user: Option<String>,
    digest: Option<String>,
    status: Option<u16>,
    received: Arc<AtomicU64>,
    sent: u64,
    /// The answer did not go out whole.
    cut: bool,
}

impl RequestLog {
    pub(crate) fn new(
        caller: &Caller,
        connection: SocketAddr,
        method: Method,
        route: Option<Route>,
        (metrics, span): (Metrics, RequestSpan),
    ) -> Self {
        Self {
            id: caller.id.clone(),
            peer: caller.address,
            connection,
            method,
            started: Instant::now(),
            metrics,
            span,
            route,
            user: None,
            digest: None,
            status: None,
            received: Arc::default(),
            sent: 0,
            cut: true,
        }
    }

    /// Counts the bytes of the request's body.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    pub(crate) fn set_user(&mut self, user: String) {
        self.user = Some(user);
    }

    /// Goes on with the body of the answer to its end.
    pub(crate) fn follow(mut self, response: Response<ResponseBody>) -> Response<LoggedBody> {
        self.status = Some(response.status().as_u16());
        self.digest = header_text(response.headers(), &DOCKER_CONTENT_DIGEST).map(str::to_owned);
        response.map(|body| LoggedBody { body, log: self })
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        let route = self.route.as_ref();
        let name = route.map_or("none", Route::name);
        let (received, duration) = (self.received.load(Ordering::Relaxed), self.started.elapsed());
        let measured = MeasuredRequest {
            method: &self.method,
            route: name,
            status: self.status,
            received,
            sent: self.sent,
            duration,
        };
        self.metrics.measure(&measured);
        self.span.end(&measured);
        // An answer tells the digest; without one the path may.
        let named = route.and_then(Route::digest).filter(|_| self.digest.is_none());
        tracing::info!(
            request = %self.id,
            peer = %self.peer,
            connection = %self.connection,
            user = self.user.as_deref(),
            method = %self.method,
            route = name,
            repository = route.and_then(Route::repository).map(tracing::field::display),
            tag = route.and_then(Route::tag).map(tracing::field::display),
            upload = route.and_then(Route::upload).map(tracing::field::display),
            digest = self.digest.as_deref().or(named.as_ref().map(ToString::to_string).as_deref()),
            status = self.status,
            received,
            sent = self.sent,
            cut = self.cut.then_some(true),
            microseconds = duration.as_micros() as u64,
            "request"
        );
    }
}

/// The body of an answer, whose end is the request's.
#[derive(Debug)]
pub(crate) struct LoggedBody {
    body: ResponseBody,
    log: RequestLog,
}

impl Body for LoggedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            this.log.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for LoggedBody {
    fn drop(&mut self) {
        self.log.cut = !self.body.is_end_stream();
    }
}
