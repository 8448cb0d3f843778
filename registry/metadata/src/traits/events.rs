//! The outbox of events. Events stand in the order of their ids. Each endpoint has a cursor of its own, so one
//! that is stuck delays only itself; a cursor moves after the delivery, so after a crash an event is delivered
//! again rather than lost.

use std::future::Future;

use time::OffsetDateTime;

use super::Answer;
use crate::{EventBacklog, EventCursor, EventRecord, NewEvent};

pub trait EventMetadata: Clone + Send + Sync + 'static {
    /// Records events that come with no change, such as pulls.
    fn record_events(
        &self,
        events: Vec<NewEvent>,
        now: OffsetDateTime,
    ) -> impl Future<Output = Answer<()>> + Send;

    /// Makes a cursor for the endpoint if it has none: events from now on are for it.
    fn add_endpoint(&self, endpoint: &str, now: OffsetDateTime) -> impl Future<Output = Answer<()>> + Send;

    /// Removes the endpoint's cursor; false when there was none.
    fn remove_endpoint(&self, endpoint: &str) -> impl Future<Output = Answer<bool>> + Send;

    /// Takes the endpoint for delivery until `until`, if nobody has it at `now` and its next attempt is due.
    fn claim_endpoint(
        &self,
        endpoint: &str,
        now: OffsetDateTime,
        until: OffsetDateTime,
    ) -> impl Future<Output = Answer<Option<EventCursor>>> + Send;

    /// The events behind the cursor in their order, at most `limit`. An event of a transaction that may yet
    /// commit with a lower id holds those behind it back.
    fn events_after(
        &self,
        event_id: i64,
        limit: usize,
    ) -> impl Future<Output = Answer<Vec<EventRecord>>> + Send;

    /// Moves the cursor of a claim behind `event_id`, which was delivered or is of no interest to the endpoint,
    /// forgets failures and keeps the claim until `until` (`now`: gives it back). False: the claim was lost.
    fn advance_endpoint(
        &self,
        claim: &EventCursor,
        event_id: i64,
        until: OffsetDateTime,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Counts a failed attempt and gives the claim back; the next attempt is due at `next_attempt_at`. False: the
    /// claim was lost.
    fn fail_endpoint(
        &self,
        claim: &EventCursor,
        next_attempt_at: OffsetDateTime,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Moves the endpoint's cursor so that the events behind `event_id` are delivered again, at once, and takes it
    /// from whoever has claimed it. False: there is no such endpoint.
    fn replay_events(
        &self,
        endpoint: &str,
        event_id: i64,
        now: OffsetDateTime,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Removes events that every endpoint is past, and those created before `before` in any case, at most
    /// `limit`, oldest first; gives how many went.
    fn trim_events(&self, before: OffsetDateTime, limit: usize)
    -> impl Future<Output = Answer<usize>> + Send;

    /// Every endpoint with what waits for it, by name. For operators: counting takes time with the backlog.
    fn event_backlog(&self) -> impl Future<Output = Answer<Vec<EventBacklog>>> + Send;
}
