//! What goes on on one HTTP/2 connection, to end one that only holds its place: a peer that answers PING keeps
//! the connection alive, but that alone is no use of it, and neither is a response that it lets stand.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep};

/// A stream that stands while others move is left for this many idle times: a client may have a reason to read
/// one layer before another, and only the whole connection can be ended.
const PATIENCE: u32 = 10;
/// Bytes handed to HTTP/2 at once, in spite of a peer's closed window. More would be queued there, unseen here.
const FRAME: usize = 64 << 10;
/// How often an idle time is looked at within itself.
const LOOKS: u32 = 4;

#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Requests whose handler works; it has time limits of its own.
    handling: usize,
    /// When something moved last.
    last: Instant,
    /// Responses being sent, and when each moved last.
    sending: HashMap<u64, Instant>,
    next: u64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            handling: 0,
            last: Instant::now(),
            sending: HashMap::new(),
            next: 0,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Single assignments only, so a panicking holder leaves the state whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request until the guard is dropped.
    pub(crate) fn handle(&self) -> Handling {
        self.lock().handling += 1;
        Handling(self.clone())
    }

    /// Notes a response until its body is sent or given up.
    pub(crate) fn send<B>(&self, body: B) -> WatchedBody<B> {
        let mut state = self.lock();
        let (id, now) = (state.next, Instant::now());
        state.next += 1;
        state.sending.insert(id, now);
        drop(state);
        WatchedBody { body, rest: Bytes::new(), activity: self.clone(), id }
    }

    /// Returns when the connection is of no use any more.
    pub(crate) async fn ended(&self, idle: Duration) {
        loop {
            sleep(idle / LOOKS).await;
            let (now, state) = (Instant::now(), self.lock());
            let stands = |since: Instant, time: Duration| now.duration_since(since) >= time;
            let unused = state.handling == 0 && stands(state.last, idle);
            let patience = idle.saturating_mul(PATIENCE);
            if unused || state.sending.values().any(|&since| stands(since, patience)) {
                return;
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct Handling(Activity);

impl Drop for Handling {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.handling -= 1;
        state.last = Instant::now();
    }
}

/// A body in pieces of at most [`FRAME`] bytes whose every piece is noted.
#[derive(Debug)]
pub(crate) struct WatchedBody<B> {
    body: B,
    rest: Bytes,
    activity: Activity,
    id: u64,
}

impl<B: Body<Data = Bytes, Error = io::Error> + Unpin> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(context))
                .map(|frame| frame.map(Frame::into_data))
            {
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let now = Instant::now();
        let mut state = this.activity.lock();
        state.last = now;
        state.sending.insert(this.id, now);
        drop(state);
        let piece = this.rest.split_to(this.rest.len().min(FRAME));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl<B> Drop for WatchedBody<B> {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.sending.remove(&self.id);
        state.last = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::time::timeout;

    use super::*;
    use crate::body::ResponseBody;

    const IDLE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_use_ends_and_a_working_one_does_not() {
        let activity = Activity::new();
        let handling = activity.handle();
        timeout(IDLE * 5, activity.ended(IDLE)).await.expect_err("a handler works");
        drop(handling);
        let dropped = Instant::now();
        activity.ended(IDLE).await;
        assert!(dropped.elapsed() >= IDLE, "it ended too early");
    }

    #[tokio::test(start_paused = true)]
    async fn a_standing_response_ends_the_connection_at_last() {
        let activity = Activity::new();
        let _standing = activity.send(ResponseBody::full("never read"));
        let _other = activity.handle();
        timeout(IDLE * 5, activity.ended(IDLE)).await.expect_err("others may move");
        timeout(IDLE * 6, activity.ended(IDLE)).await.expect("ten idle times are too many");
    }

    #[tokio::test]
    async fn a_body_comes_whole_and_in_pieces() {
        let content: Vec<u8> = (0..=255_u8).cycle().take(3 * FRAME + 7).collect();
        let mut body = Activity::new().send(ResponseBody::full(content.clone()));
        assert_eq!(body.size_hint().exact(), Some(content.len() as u64));
        let mut got = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.expect("no error").into_data().expect("data");
            assert!(data.len() <= FRAME);
            got.extend_from_slice(&data);
            assert_eq!(body.size_hint().exact(), Some((content.len() - got.len()) as u64));
        }
        assert!(got == content && body.is_end_stream());
    }
}
