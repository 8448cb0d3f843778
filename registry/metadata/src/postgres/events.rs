//! The outbox: written in the transactions of the changes it tells of.

use time::OffsetDateTime;

use super::{columns::TimeColumn, connection::Connection, error::Failure};
use crate::NewEvent;

pub(super) async fn record(
    connection: &Connection,
    events: &[NewEvent],
    now: OffsetDateTime,
) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let repositories: Vec<&str> = events.iter().map(|event| event.repository.as_str()).collect();
    let payloads: Vec<&str> = events.iter().map(|event| event.payload.as_str()).collect();
    connection
        .execute(
            "INSERT INTO event_inbox (repository, payload, created_at)
             SELECT repository, payload, $3::BIGINT
             FROM unnest($1::TEXT[], $2::TEXT[]) WITH ORDINALITY event (repository, payload, position)
             ORDER BY position",
            &[&repositories, &payloads, &TimeColumn(now)],
        )
        .await?;
    Ok(())
}
