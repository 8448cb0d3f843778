//! Events of pulls on their way to the outbox. A pull must not wait for a write, so they are gathered and written
//! together; when they come faster than that, some are given up and counted.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use registry_metadata::NewEvent;
use tokio::sync::Notify;

/// Events that may wait: a second of pulls at a busy rate, some megabytes.
const MOST_WAITING: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct PullQueue {
    waiting: Mutex<Vec<NewEvent>>,
    added: Notify,
    dropped: AtomicU64,
}

impl PullQueue {
    pub(super) fn add(&self, event: NewEvent) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_WAITING {
            drop(waiting);
            self.give_up(1);
            return;
        }
        waiting.push(event);
        drop(waiting);
        self.added.notify_one();
    }

    /// Everything that waits, once there is something.
    pub(super) async fn take(&self) -> Vec<NewEvent> {
        loop {
            let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.added.notified().await;
        }
    }

    pub(super) fn give_up(&self, events: usize) {
        self.dropped.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
