//! Room in memory for bodies that are held whole: manifests being received and being sent, and pages of referrers.
//! A process-wide number of bytes bounds them, whatever clients do; small ones need none.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use registry_types::ErrorCode;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::HttpError;

/// All large bodies together, in bytes: four manifests of the largest usual size (4 MiB).
const ROOM: usize = 16 << 20;
/// Bodies up to this size take no room: nearly all manifests, and no more than a connection's own buffer.
pub(crate) const SMALL: usize = 64 << 10;
/// How long a request waits for room: longer than a client on a usual line needs for its 4 MiB.
const WAIT: Duration = Duration::from_secs(10);
/// Seconds after which a client may try again.
const RETRY_AFTER: &str = "5";

static FREE: Semaphore = Semaphore::const_new(ROOM);

/// Room for a body; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    length: usize,
    permit: SemaphorePermit<'static>,
}

impl Room {
    /// Room for `length` bytes if there is some now.
    pub(crate) fn now(length: usize) -> Option<Self> {
        let permit = FREE.try_acquire_many(permits(length)).ok()?;
        Some(Self { length, permit })
    }

    /// Room for `length` bytes, waited for.
    ///
    /// # Errors
    /// 503 when there is none for too long.
    pub(crate) async fn wait(length: usize) -> Result<Self, HttpError> {
        match tokio::time::timeout(WAIT, FREE.acquire_many(permits(length))).await {
            Ok(Ok(permit)) => Ok(Self { length, permit }),
            Ok(Err(_)) | Err(_) => {
                let message = "too many large manifests and lists are on their way: try again";
                let error = HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message);
                Err(error.with_header(header::RETRY_AFTER, RETRY_AFTER))
            }
        }
    }

    /// What `read` gives and, if it is large, the room for it; `length` is what it takes, in bytes. Who waits for
    /// room holds nothing meanwhile, and reads again.
    ///
    /// # Errors
    /// Those of `read`; 503 when there is no room for too long.
    pub(crate) async fn of<T, F, E>(
        read: impl Fn() -> F,
        length: impl Fn(&T) -> usize,
    ) -> Result<(T, Option<Self>), E>
    where
        F: Future<Output = Result<T, E>>,
        E: From<HttpError>,
    {
        let mut room: Option<Self> = None;
        loop {
            let content = read().await?;
            let length = length(&content);
            if length <= SMALL {
                return Ok((content, None));
            }
            if !room.as_ref().is_some_and(|room| room.holds(length)) {
                room = Self::now(length);
            }
            if room.is_some() {
                return Ok((content, room));
            }
            drop(content);
            room = Some(Self::wait(length).await?);
        }
    }

    /// Gives back what is beyond `length`.
    #[must_use]
    pub(crate) fn shrunk(mut self, length: usize) -> Self {
        let beyond = self.permit.num_permits().saturating_sub(permits(length) as usize);
        drop(self.permit.split(beyond));
        self.length = self.length.min(length);
        self
    }

    fn holds(&self, length: usize) -> bool {
        self.length >= length
    }

    /// `bytes` that keep this room until their last slice is dropped, wherever they are queued until then.
    pub(crate) fn keep(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Kept { bytes, _room: self })
    }
}

/// A configured manifest limit above all room would otherwise wait for ever.
fn permits(length: usize) -> u32 {
    length.min(ROOM) as u32
}

struct Kept {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Held by tests that take room: it is one for the whole process.
#[cfg(test)]
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn room_is_bounded_and_comes_back_with_the_last_slice() {
        let _alone = ALONE.lock().await;
        let slice = {
            let room = Room::wait(ROOM * 2).await.expect("more than all is all");
            let bytes = room.keep(Bytes::from_static(b"manifest"));
            bytes.slice(2..4)
        };
        assert_eq!(&*slice, b"ni");
        assert!(Room::now(1).is_none());
        let refused = Room::wait(1).await.expect_err("no room");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(slice);
        assert!(Room::now(ROOM).is_some_and(|room| room.holds(ROOM) && !room.holds(ROOM + 1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_room_holds_nothing_and_is_read_again() {
        let _alone = ALONE.lock().await;
        let (reads, held) = (Cell::new(0), Arc::new(()));
        let read = || async {
            reads.set(reads.get() + 1);
            Ok::<_, HttpError>(Arc::clone(&held))
        };
        let small = Room::of(read, |_| SMALL).await.expect("read");
        assert!(small.1.is_none());
        drop(small);
        let all = Room::now(ROOM).expect("nobody else");
        let waiting = Room::of(read, |_| SMALL + 1);
        let release = async {
            tokio::time::sleep(WAIT / 2).await;
            assert_eq!((Arc::strong_count(&held), reads.get()), (1, 2), "it was held while it waited");
            // No more than was asked for is needed.
            drop(all.shrunk(ROOM - SMALL - 1));
        };
        let (read, ()) = tokio::join!(waiting, release);
        assert!(read.expect("read").1.is_some_and(|room| room.holds(SMALL + 1)));
        assert_eq!(reads.get(), 3);
    }

    #[tokio::test]
    async fn shrunk_room_gives_back_the_rest() {
        let _alone = ALONE.lock().await;
        let kept = Room::now(ROOM).expect("nobody else").shrunk(ROOM / 4);
        assert!(!kept.holds(ROOM / 4 + 1) && kept.holds(ROOM / 4));
        assert!(Room::now(ROOM / 4 * 3).is_some() && Room::now(ROOM / 4 * 3 + 1).is_none());
    }
}
