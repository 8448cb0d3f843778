//! The body of a request: counted, and read on for a while when its handler gives it up. Closing a connection on
//! which bytes are still coming resets it, and the reset may take the answer from a client that sends its whole body
//! before it reads: docker and curl would tell "connection reset" where we told what is wrong.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Version, header, request::Parts};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Most bytes read of a body that nobody wants: a manifest of many times the limit, a small layer. Reading them costs
/// less than the client's second attempt.
const DRAIN_BYTES: u64 = 64 << 20;
/// And how long. What a client on a usual line has sent by then, it has sent; one that goes on is cut off, and had
/// all this time to read the answer.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A request's body. Dropped before its end, it is drained in the background; the answer does not wait for that.
#[derive(Debug)]
pub(crate) struct IncomingBody {
    body: Option<Incoming>,
    received: Arc<AtomicU64>,
    /// HTTP/2 ends one stream alone, and its client reads the answer (RFC 9113 section 8.1).
    drains: bool,
    /// The client waits for a word before it sends, and reading is that word (RFC 9110 section 10.1.1).
    waits: bool,
}

impl IncomingBody {
    /// `received` counts its bytes.
    pub(crate) fn new(body: Incoming, parts: &Parts, received: Arc<AtomicU64>) -> Self {
        Self {
            body: Some(body),
            received,
            drains: parts.version < Version::HTTP_2,
            waits: parts.headers.contains_key(header::EXPECT),
        }
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        this.waits = false;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.received.fetch_add(length, Ordering::Relaxed);
            }
            // A chunked body does not tell its end by itself.
            Poll::Ready(Some(Err(_)) | None) => this.body = None,
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for IncomingBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| self.drains && !self.waits && !body.is_end_stream());
        // One task at most for each connection, and no longer than `DRAIN_TIME`.
        if let (Some(body), Ok(runtime)) = (unread, tokio::runtime::Handle::try_current()) {
            runtime.spawn(drain(body));
        }
    }
}

async fn drain(mut body: Incoming) {
    let reading = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    };
    if tokio::time::timeout(DRAIN_TIME, reading).await.is_err() {
        tracing::debug!("a client went on sending a body that nobody wants");
    }
}
