//! One writer per upload session within this process. A request that finds its session taken waits a little:
//! after a cut connection the client is often back before the old request has noticed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use registry_types::UploadId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// How long a request waits for an earlier one on the same session. The earlier one ends at the latest when its
/// body's idle time is over; a client that is back sooner tries again.
const PATIENCE: Duration = Duration::from_secs(10);

type Slot = Weak<AsyncMutex<()>>;

#[derive(Debug, Clone, Default)]
pub(crate) struct SessionLocks {
    slots: Arc<Mutex<HashMap<UploadId, Slot>>>,
}

/// Holds the session until dropped.
#[derive(Debug)]
pub(crate) struct SessionLock {
    _guard: OwnedMutexGuard<()>,
}

impl SessionLocks {
    /// `None` when another request holds the session for longer than [`PATIENCE`].
    pub(crate) async fn take(&self, id: UploadId) -> Option<SessionLock> {
        let slot = self.slot(id);
        let guard = tokio::time::timeout(PATIENCE, slot.lock_owned()).await.ok()?;
        Some(SessionLock { _guard: guard })
    }

    fn slot(&self, id: UploadId) -> Arc<AsyncMutex<()>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&id).and_then(Weak::upgrade) {
            return slot;
        }
        // Entries of ended requests are swept here, so the map is never larger than the sessions being written.
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(AsyncMutex::new(()));
        slots.insert(id, Arc::downgrade(&slot));
        slot
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
        assert!(locks.take(second).await.is_some());
        drop(held);
        assert!(locks.take(first).await.is_some());
        locks.take(UploadId::random()).await.unwrap();
        assert!(locks.slots.lock().unwrap().len() <= 2, "slots of ended requests stay");
    }
}
