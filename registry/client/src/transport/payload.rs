//! Request bodies that can be sent again: nothing, bytes in memory, or a part of a file. Each piece handed to the
//! connection is a sign of life for the time limits and a step of the progress shown.

use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::UnsyncBoxBody};

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How much of a file is read at once, in bytes: large enough that the hop to a blocking thread does not count,
/// small enough that many uploads at once stay in a few megabytes.
pub(crate) const PIECE: u64 = 512 << 10;

/// What a request carries. Cloning is cheap.
#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Bytes(Bytes),
    /// `length` bytes from `start`.
    File {
        file: Arc<File>,
        start: u64,
        length: u64,
    },
}

impl fmt::Debug for Payload {
    /// The length only: a request to a token server carries a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.length())
    }
}

impl Payload {
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    /// The part of `length` bytes from `start`, both cut to what there is.
    pub(crate) fn part(&self, start: u64, length: u64) -> Self {
        let start = start.min(self.length());
        let length = length.min(self.length() - start);
        match self {
            Self::Empty => Self::Empty,
            Self::Bytes(bytes) => Self::Bytes(bytes.slice(start as usize..(start + length) as usize)),
            Self::File { file, start: base, .. } => {
                Self::File { file: Arc::clone(file), start: base + start, length }
            }
        }
    }

    /// The bytes of a part, in memory.
    pub(crate) async fn read(&self, start: u64, length: u64) -> io::Result<Bytes> {
        match self.part(start, length) {
            Self::Empty => Ok(Bytes::new()),
            Self::Bytes(bytes) => Ok(bytes),
            Self::File { file, start, length } => tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; length as usize];
                file.read_exact_at(&mut piece, start)?;
                Ok(Bytes::from(piece))
            })
            .await
            .map_err(io::Error::other)?,
        }
    }

    pub(super) fn body(&self, activity: Activity, meter: Option<Meter>) -> Body {
        let total = self.length();
        if total == 0 {
            activity.complete();
            return Empty::new().map_err(|never| match never {}).boxed_unsync();
        }
        let payload = self.clone();
        let pieces = stream::try_unfold(0, move |position| {
            let (payload, activity, meter) = (payload.clone(), activity.clone(), meter.clone());
            async move {
                // Being asked for more means that what came before is on its way.
                activity.touch();
                if let Some(meter) = &meter {
                    meter.sent(position);
                }
                if position == total {
                    return Ok(None);
                }
                let piece = payload.read(position, PIECE).await?;
                activity.touch();
                let position = position + piece.len() as u64;
                if position == total {
                    // A body of known length is not asked for its end.
                    activity.complete();
                    if let Some(meter) = &meter {
                        meter.sent(position);
                    }
                }
                Ok::<_, io::Error>(Some((Frame::data(piece), position)))
            }
        });
        StreamBody::new(pieces).boxed_unsync()
    }
}

/// When a request last showed life.
#[derive(Debug, Clone)]
pub(crate) struct Activity(Arc<Life>);

#[derive(Debug)]
struct Life {
    start: Instant,
    last: AtomicU64,
    complete: AtomicBool,
}

impl Activity {
    pub(super) fn start() -> Self {
        Self(Arc::new(Life {
            start: Instant::now(),
            last: AtomicU64::new(0),
            complete: AtomicBool::new(false),
        }))
    }

    fn touch(&self) {
        self.0.last.store(self.0.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn complete(&self) {
        self.touch();
        self.0.complete.store(true, Ordering::Release);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.0.complete.load(Ordering::Acquire)
    }

    pub(super) fn last(&self) -> Instant {
        self.0.start + Duration::from_millis(self.0.last.load(Ordering::Relaxed))
    }
}

/// Reports how far a body of an upload has come.
#[derive(Clone)]
pub(crate) struct Meter {
    report: Arc<dyn Fn(u64) + Send + Sync>,
    base: u64,
}

impl Meter {
    /// `report` gets positions within the blob; the body starts at `base`.
    pub(crate) fn new(base: u64, report: Arc<dyn Fn(u64) + Send + Sync>) -> Self {
        Self { report, base }
    }

    fn sent(&self, position: u64) {
        (self.report)(self.base + position);
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Meter({})", self.base)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_part_of_a_file_is_sent_in_pieces_and_can_be_sent_again() {
        let content: Vec<u8> = (0..3 * PIECE as usize + 17).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let whole = Payload::File { file: Arc::new(file), start: 0, length: content.len() as u64 };
        for (start, length) in [(0, u64::MAX), (5, 10), (PIECE - 1, 2 * PIECE), (content.len() as u64, 9)] {
            let part = whole.part(start, length);
            for _ in 0..2 {
                let activity = Activity::start();
                let sent = part.body(activity.clone(), None).collect().await.unwrap().to_bytes();
                let end = (start.saturating_add(length)).min(content.len() as u64) as usize;
                assert_eq!(sent, content[start as usize..end]);
                assert!(activity.is_complete());
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let payload = Payload::File { file: Arc::new(file), start: 0, length: 10 };
        assert!(payload.body(Activity::start(), None).collect().await.is_err());
    }
}
