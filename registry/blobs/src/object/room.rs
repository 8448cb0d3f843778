//! Room for upload bytes in memory, for a whole store: a byte that was taken from a client and is not stored yet
//! has its place here. Who waits for room says so, and uploads that hold bytes and make no use of them give
//! theirs back, so that no number of slow clients keeps a fast one waiting for long.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, futures::Notified};

/// How often a waiting upload says again that it waits: others may have become able to help meanwhile.
const REMIND: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Room {
    total: usize,
    free: Arc<Semaphore>,
    wanted: Notify,
    /// Most bytes that were held at once.
    peak: AtomicUsize,
}

impl Room {
    pub(super) fn new(total: usize) -> Self {
        let total = total.min(Semaphore::MAX_PERMITS);
        Self {
            total,
            free: Arc::new(Semaphore::new(total)),
            wanted: Notify::new(),
            peak: AtomicUsize::new(0),
        }
    }

    /// Waits for room for `length` bytes, which is held until the permit is dropped.
    pub(super) async fn acquire(&self, length: u32) -> OwnedSemaphorePermit {
        let mut waiting = std::pin::pin!(Arc::clone(&self.free).acquire_many_owned(length));
        let permit = loop {
            // The first look costs no timer; only who has to wait disturbs others.
            if let Some(permit) = futures_util::FutureExt::now_or_never(waiting.as_mut()) {
                break permit;
            }
            self.wanted.notify_waiters();
            if let Ok(permit) = tokio::time::timeout(REMIND, waiting.as_mut()).await {
                break permit;
            }
        };
        self.peak.fetch_max(self.held(), Ordering::Relaxed);
        permit.expect("nobody closes the semaphore")
    }

    /// Answers when an upload waits for room.
    pub(super) fn wanted(&self) -> Notified<'_> {
        self.wanted.notified()
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.total.saturating_sub(self.free.available_permits())
    }

    /// Most bytes that were held at once.
    pub(super) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_heard_and_served() {
        let room = Arc::new(Room::new(100));
        let held = room.acquire(80).await;
        let waiter = tokio::spawn({
            let room = Arc::clone(&room);
            async move { drop(room.acquire(30).await) }
        });
        room.wanted().await;
        room.wanted().await;
        assert!(!waiter.is_finished());
        drop(held);
        waiter.await.expect("served");
        assert_eq!((room.held(), room.peak()), (0, 80));
    }
}
