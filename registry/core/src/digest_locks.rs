//! Keeps the removal of a blob's bytes and the storing of the same bytes apart, within this process. A store whose
//! places are named by digest belongs to one process; in the others each upload has a place of its own, which no
//! removal touches.

use registry_types::Digest;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::slots::Slots;

#[derive(Debug, Clone, Default)]
pub(crate) struct DigestLocks {
    slots: Slots<Digest, RwLock<()>>,
}

/// While it lives, bytes of the digest may be stored and linked, and are not removed.
#[derive(Debug)]
pub(crate) struct Storing(#[expect(dead_code, reason = "held, not read")] OwnedRwLockReadGuard<()>);

/// While it lives, nobody stores or links bytes of the digest.
#[derive(Debug)]
pub(crate) struct Removing(#[expect(dead_code, reason = "held, not read")] OwnedRwLockWriteGuard<()>);

impl DigestLocks {
    /// From before a commit until its blob is linked.
    pub(crate) async fn storing(&self, digest: &Digest) -> Storing {
        Storing(self.slots.slot(*digest).read_owned().await)
    }

    /// From before the question whether the bytes may go until they are gone.
    pub(crate) async fn removing(&self, digest: &Digest) -> Removing {
        Removing(self.slots.slot(*digest).write_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn storing_and_removing_one_digest_exclude_each_other() {
        let locks = DigestLocks::default();
        let (one, other) = (Digest::sha256(b"one"), Digest::sha256(b"other"));
        let soon = Duration::from_secs(1);
        let (first, second) = (locks.storing(&one).await, locks.storing(&one).await);
        assert!(tokio::time::timeout(soon, locks.removing(&one)).await.is_err());
        let elsewhere = locks.removing(&other).await;
        drop((first, second));
        let removing = locks.removing(&one).await;
        assert!(tokio::time::timeout(soon, locks.storing(&one)).await.is_err());
        drop((removing, elsewhere));
        let _again = locks.storing(&one).await;
        assert_eq!(locks.slots.len(), 1, "slots that nobody uses stay");
    }
}
