//! What every change brings along.

use std::time::Duration;

use registry_types::RepositoryName;
use time::{OffsetDateTime, PrimitiveDateTime};

/// How long what was pushed, mounted or asked for is kept from collection though nothing refers to it, unless
/// configured: the time a slow client may take from its first layer to its manifest.
pub const LEASE: Duration = Duration::from_hours(24);

/// When a change is made, how long what it touches is kept from collection, and what is told about it.
#[derive(Debug, Clone)]
pub struct Change {
    pub now: OffsetDateTime,
    /// What the change touches is leased for this long from `now` on.
    pub lease: Duration,
    /// Written to the outbox in the transaction of the change, and only if that changes something.
    pub events: Vec<NewEvent>,
}

impl Change {
    /// A change at this moment with the usual lease, which nobody is told of.
    pub fn now() -> Self {
        Self::at(OffsetDateTime::now_utc())
    }

    /// [`Self::now`] at another moment.
    pub fn at(now: OffsetDateTime) -> Self {
        Self { now, lease: LEASE, events: Vec::new() }
    }

    /// The end of the lease that begins with the change.
    pub fn leased_until(&self) -> OffsetDateTime {
        later(self.now, self.lease)
    }
}

/// `time` plus `duration`, or the last time there is: a configured duration may be as long as it likes.
pub(crate) fn later(time: OffsetDateTime, duration: Duration) -> OffsetDateTime {
    let last = PrimitiveDateTime::MAX.assume_utc();
    time::Duration::try_from(duration).ok().and_then(|duration| time.checked_add(duration)).unwrap_or(last)
}

/// Something to tell the endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub repository: RepositoryName,
    /// JSON, as the endpoints get it; the store does not read it.
    pub payload: String,
}
