//! Room in memory for bodies that are held whole: manifests being received and being sent. A process-wide
//! number of bytes bounds them, whatever clients do; small ones need none.

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
    _permit: SemaphorePermit<'static>,
}

impl Room {
    /// Room for `length` bytes if there is some now.
    pub(crate) fn now(length: usize) -> Option<Self> {
        let permit = FREE.try_acquire_many(permits(length)).ok()?;
        Some(Self { length, _permit: permit })
    }

    /// Room for `length` bytes, waited for.
    ///
    /// # Errors
    /// 503 when there is none for too long.
    pub(crate) async fn wait(length: usize) -> Result<Self, HttpError> {
        match tokio::time::timeout(WAIT, FREE.acquire_many(permits(length))).await {
            Ok(Ok(permit)) => Ok(Self { length, _permit: permit }),
            Ok(Err(_)) | Err(_) => {
                let message = "too many large manifests are on their way: try again";
                let error = HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message);
                Err(error.with_header(header::RETRY_AFTER, RETRY_AFTER))
            }
        }
    }

    pub(crate) fn holds(&self, length: usize) -> bool {
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
}
