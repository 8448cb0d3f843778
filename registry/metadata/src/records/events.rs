//! The outbox: events in the order of their ids, and how far each endpoint has got.

use registry_types::RepositoryName;
use time::OffsetDateTime;

/// An event that waits for its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Grows with each event and is never used again.
    pub id: i64,
    pub repository: RepositoryName,
    /// JSON.
    pub payload: String,
    pub created_at: OffsetDateTime,
}

/// Where an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCursor {
    pub endpoint: String,
    /// Everything up to this id was delivered.
    pub event_id: i64,
    /// Failed attempts on the next event since the last success.
    pub attempts: u32,
    /// No attempt before this time.
    pub next_attempt_at: OffsetDateTime,
    /// A deliverer has the endpoint until this time.
    pub locked_until: OffsetDateTime,
    /// Raised by each claim; only the last claim may move the cursor.
    pub claim: u64,
}

/// How far an endpoint is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBacklog {
    pub cursor: EventCursor,
    /// Events behind the cursor.
    pub waiting: u64,
    /// Of the oldest event that waits.
    pub oldest: Option<OffsetDateTime>,
}
