//! The least average speed of a peer. Only time spent waiting for the peer counts, so a slow disk of ours is
//! never held against it, and a transfer that needs little time is never judged.

use std::{fmt, time::Duration};

/// Bytes a second. A modem of 1990 is faster; a client that keeps a connection by a byte now and then is not.
const LEAST_RATE: u64 = 1 << 10;
/// Shortest time over which the rate is taken: long enough for a roaming phone's pause.
const SHORTEST_WINDOW: Duration = Duration::from_secs(60);

/// Watches one transfer.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

/// The peer is slower than the least rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the peer was slower than {LEAST_RATE} bytes a second")
    }
}

impl Pace {
    /// A pause shorter than `idle` is allowed by itself, so the window holds such a pause and time to make up
    /// for it.
    pub(crate) fn new(idle: Duration) -> Self {
        Self { window: SHORTEST_WINDOW.max(idle.saturating_mul(2)), waited: Duration::ZERO, bytes: 0 }
    }

    /// Notes that `bytes` moved after a wait of `waited`.
    pub(crate) fn note(&mut self, waited: Duration, bytes: usize) -> Result<(), TooSlow> {
        self.waited = self.waited.saturating_add(waited);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.waited < self.window {
            return Ok(());
        }
        let least = self.waited.as_secs().saturating_mul(LEAST_RATE);
        let enough = self.bytes >= least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if enough { Ok(()) } else { Err(TooSlow) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_trickle_ends_after_a_window() {
        let mut pace = Pace::new(SECOND);
        for _ in 0..59 {
            assert_eq!(pace.note(SECOND, 1), Ok(()));
        }
        assert_eq!(pace.note(SECOND, 1), Err(TooSlow));
    }

    #[test]
    fn a_slow_link_and_a_pause_are_no_trickle() {
        let mut pace = Pace::new(SECOND * 60);
        for _ in 0..10 {
            assert_eq!(pace.note(SECOND * 59, 1), Ok(()));
            for _ in 0..61 {
                assert_eq!(pace.note(SECOND, 4 << 10), Ok(()));
            }
        }
        // What took no waiting is never too slow.
        for _ in 0..1000 {
            assert_eq!(pace.note(Duration::ZERO, 1), Ok(()));
        }
    }
}
