//! Request bodies as streams with a limit on how long they may be idle, and small ones as bytes with a limit on
//! their length, on the time they take and on the memory that all of them take together.

use std::{fmt::Display, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use registry_core::{BodyError, UploadBody};
use registry_types::ErrorCode;
use tokio::time::Instant;

use crate::{
    error::HttpError,
    pace::Pace,
    room::{Room, SMALL},
};

/// Time for a small body whatever its length: a client's turn on a busy line.
const WHOLE_TIME: Duration = Duration::from_secs(30);
/// And for each so many bytes a second more: a quarter of a megabit a second, for a manifest of megabytes.
const WHOLE_RATE: u64 = 32 << 10;

/// Turns a body into chunks. Silence of `idle` ends it with an error, and so does a trickle.
pub(crate) fn upload_stream<B>(body: B, idle: Duration) -> UploadBody
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Display + Send,
{
    Box::pin(stream::unfold(Some((body, Pace::new(idle))), move |state| async move {
        let (mut body, mut pace) = state?;
        loop {
            let started = Instant::now();
            let frame = match tokio::time::timeout(idle, body.frame()).await {
                Err(_) => {
                    let reason = format!("no byte came for {} seconds", idle.as_secs());
                    return Some((Err(BodyError::Cut(reason)), None));
                }
                Ok(None) => return None,
                Ok(Some(Err(error))) => return Some((Err(BodyError::Cut(error.to_string())), None)),
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers carry nothing for a registry.
            let Ok(chunk) = frame.into_data() else { continue };
            if let Err(slow) = pace.note(started.elapsed(), chunk.len()) {
                return Some((Err(BodyError::Cut(slow.to_string())), None));
            }
            return Some((Ok(chunk), Some((body, pace))));
        }
    }))
}

/// A body read whole, and its room.
#[derive(Debug)]
pub(crate) struct WholeBody {
    pub(crate) bytes: Bytes,
    _room: Option<Room>,
}

/// Reads a whole body of at most `limit` bytes. The room for a large one is taken before its bytes are.
pub(crate) async fn read_whole<B>(
    body: B,
    headers: &HeaderMap,
    limit: usize,
    idle: Duration,
) -> Result<WholeBody, HttpError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let announced = content_length(headers);
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let length = announced.map_or(limit, |length| length as usize);
    let room = match announced {
        Some(_) if length > SMALL => Some(Room::wait(length).await?),
        // Without a length it may still be small.
        _ => None,
    };
    let time = WHOLE_TIME + Duration::from_secs(length as u64 / WHOLE_RATE);
    let capacity = announced.map_or(0, |length| length as usize);
    let reading = read_within(body, BytesMut::with_capacity(capacity), room, limit, idle);
    tokio::time::timeout(time, reading)
        .await
        .unwrap_or_else(|_| Err(timed_out(format!("the body was not here after {} seconds", time.as_secs()))))
}

async fn read_within<B>(
    mut body: B,
    mut whole: BytesMut,
    mut room: Option<Room>,
    limit: usize,
    idle: Duration,
) -> Result<WholeBody, HttpError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => {
                return Err(timed_out(format!("no byte of the body came for {} seconds", idle.as_secs())));
            }
            Ok(None) => return Ok(WholeBody { bytes: whole.freeze(), _room: room }),
            Ok(Some(frame)) => frame.map_err(|error| {
                HttpError::bad_request(ErrorCode::Unknown, format!("the body did not arrive whole: {error}"))
            })?,
        };
        let Ok(chunk) = frame.into_data() else { continue };
        let length = whole.len() + chunk.len();
        if length > limit {
            return Err(too_large(limit));
        }
        if length > SMALL && room.is_none() {
            // All it may need, at once: bodies that each wait for more while they hold some would wait for ever.
            room = Some(Room::wait(limit).await?);
            whole.reserve(limit - whole.len());
        }
        whole.extend_from_slice(&chunk);
    }
}

fn too_large(limit: usize) -> HttpError {
    HttpError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::ManifestInvalid,
        format!("the body is larger than {limit} bytes"),
    )
}

fn timed_out(message: String) -> HttpError {
    HttpError::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::Unknown, message)
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::StreamExt;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const IDLE: Duration = Duration::from_secs(60);

    /// A chunk of `length` bytes a second, without an end.
    fn trickle(length: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin + Send + 'static {
        let chunks = stream::unfold((), move |()| async move {
            tokio::time::sleep(SECOND).await;
            Some((Ok(Frame::data(Bytes::from(vec![b' '; length]))), ()))
        });
        StreamBody::new(Box::pin(chunks))
    }

    fn announced(length: usize) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_LENGTH, length.into())])
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_body_has_a_deadline() {
        let started = Instant::now();
        let error = read_whole(trickle(1), &announced(60_000), 4 << 20, IDLE).await.expect_err("too slow");
        assert_eq!(error.status, StatusCode::REQUEST_TIMEOUT);
        assert!(started.elapsed() < IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_a_length_is_limited() {
        let _alone = crate::room::ALONE.lock().await;
        let error = read_whole(trickle(300 << 10), &HeaderMap::new(), 1 << 20, IDLE).await;
        assert_eq!(error.expect_err("too large").status, StatusCode::PAYLOAD_TOO_LARGE);
        let error = read_whole(trickle(1), &announced(2 << 20), 1 << 20, IDLE).await;
        assert_eq!(error.expect_err("too large").status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickled_upload_ends_and_a_slow_one_goes_on() {
        let started = Instant::now();
        let chunks = upload_stream(trickle(1), IDLE).collect::<Vec<_>>().await;
        assert!(chunks.last().is_some_and(Result::is_err));
        assert!(started.elapsed() <= IDLE * 3);
        let slow = upload_stream(trickle(2 << 10), IDLE).take(1000).collect::<Vec<_>>().await;
        assert!(slow.len() == 1000 && slow.iter().all(Result::is_ok));
    }
}
