//! One writer per upload session within this process. A request that finds its session taken waits; one that
//! holds a session and hears nothing from its client gives it up to a request that waits. So a client that is
//! back after its connection died goes on at once, though nobody told the server that the old one is dead; and
//! two clients that both send never mix their bytes.

use std::{sync::Arc, time::Duration};

use registry_types::UploadId;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::slots::Slots;

/// How long a request waits for an earlier one on the same session whose client is still sending.
const PATIENCE: Duration = Duration::from_secs(10);

/// Silence after which a client is taken for gone when another request wants its session: longer than a lost
/// packet needs to be sent again on most networks, shorter than a person or a client waits.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Slot {
    taken: Arc<Mutex<()>>,
    /// Requests that wait for the session.
    waiting: watch::Sender<usize>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct SessionLocks {
    slots: Slots<UploadId, Slot>,
}

/// Holds the session until dropped.
#[derive(Debug)]
pub(crate) struct SessionLock {
    slot: Arc<Slot>,
    _guard: OwnedMutexGuard<()>,
}

impl SessionLock {
    /// Answers when nothing was heard for [`SILENCE`] from now on and another request wants the session.
    pub(crate) async fn wanted_after_silence(&self) {
        tokio::time::sleep(SILENCE).await;
        // No error: the sender lives as long as this lock.
        let _ = self.slot.waiting.subscribe().wait_for(|&waiting| waiting > 0).await;
    }
}

/// Counts a request as waiting until dropped.
struct Waiting<'a>(&'a Slot);

impl<'a> Waiting<'a> {
    fn at(slot: &'a Slot) -> Self {
        slot.waiting.send_modify(|waiting| *waiting += 1);
        Self(slot)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl SessionLocks {
    /// `None` when another request holds the session for longer than [`PATIENCE`].
    pub(crate) async fn take(&self, id: UploadId) -> Option<SessionLock> {
        let slot = self.slots.slot(id);
        let guard = {
            let _waiting = Waiting::at(&slot);
            tokio::time::timeout(PATIENCE, Arc::clone(&slot.taken).lock_owned()).await.ok()?
        };
        Some(SessionLock { slot, _guard: guard })
    }

    /// `None` when a request holds the session, which does not learn of this.
    pub(crate) fn take_if_free(&self, id: UploadId) -> Option<SessionLock> {
        let slot = self.slots.slot(id);
        let guard = Arc::clone(&slot.taken).try_lock_owned().ok()?;
        Some(SessionLock { slot, _guard: guard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_has_one_writer_and_frees_its_slot() {
        let locks = SessionLocks::default();
        let (first, second) = (UploadId::random(), UploadId::random());
        let held = locks.take(first).await.unwrap();
        assert!(locks.take(first).await.is_none(), "two writers hold one session");
        assert!(locks.take_if_free(first).is_none(), "two writers hold one session");
        assert!(locks.take(second).await.is_some());
        drop(held);
        assert!(locks.take_if_free(first).is_some());
        assert!(locks.take(first).await.is_some());
        locks.take(UploadId::random()).await.unwrap();
        assert!(locks.slots.len() <= 2, "slots of ended requests stay");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_holder_learns_that_it_is_waited_for() {
        let locks = SessionLocks::default();
        let id = UploadId::random();
        let held = locks.take(id).await.unwrap();
        let long = Duration::from_hours(1);
        let alone = tokio::time::timeout(long, held.wanted_after_silence()).await;
        assert!(alone.is_err(), "nobody waits");
        assert!(locks.take(id).await.is_none());
        let gone = tokio::time::timeout(long, held.wanted_after_silence()).await;
        assert!(gone.is_err(), "the one that waited has gone");
        let next = tokio::spawn(async move { locks.take(id).await.is_some() });
        tokio::time::timeout(SILENCE * 2, held.wanted_after_silence()).await.unwrap();
        drop(held);
        assert!(next.await.unwrap());
    }
}
