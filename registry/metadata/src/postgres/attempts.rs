//! Operations and their attempts. Two kinds:
//!
//! - [`Attempts::repeat`]: one statement that may take effect twice without harm, such as every read.
//! - [`Attempts::write`]: a transaction that takes effect exactly once if it is acknowledged. The hard case is a
//!   connection that breaks during COMMIT: the write may have taken place or not, and an upsert may be harmless to
//!   repeat where an event, a counter or "was there one?" is not. So each transaction first raises the number
//!   that its slot has in `write_marks` to its own. An attempt that finds its number there already knows that an
//!   earlier attempt committed, and the answer that one had computed is given. While the server still works on the
//!   earlier attempt's COMMIT, that transaction holds the mark's row locked, so the later attempt waits and then
//!   sees how it ended. No clock and no guess is in it, and it holds across a crash of the server, since the mark
//!   is as durable as the write.
//!
//! Attempts end after some seconds; then the caller is told [`MetadataError::Unavailable`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join;
use time::OffsetDateTime;

use super::{
    columns::TimeColumn,
    connection::{Connection, Parameters},
    error::{Failure, unavailable},
    pool::{Held, Pool},
    schema,
};
use crate::MetadataError;

/// How long attempts go on after the first: a restart of the server takes less, and a client waits longer.
const PATIENCE: Duration = Duration::from_secs(6);

/// Between attempts: doubled each time, from the first to the last value.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_millis(640);

/// How long an operation waits for a slot while all are in use.
const SLOT_PATIENCE: Duration = Duration::from_secs(10);

/// What an attempt may take beside its slowest statement.
const ATTEMPT_MARGIN: Duration = Duration::from_secs(5);

/// How long an attempt may take at what counts or carries every row of a table.
pub(super) const LONG_WORK: Duration = Duration::from_hours(6);

/// Begins a transaction whose queries all see the same moment.
pub(super) const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const MARK: &str = "INSERT INTO write_marks (slot, sequence, used_at) VALUES ($1, $2, $3)
     ON CONFLICT (slot) DO UPDATE SET sequence = excluded.sequence, used_at = excluded.used_at
     WHERE write_marks.sequence < excluded.sequence";

#[derive(Debug)]
pub(super) struct Attempts {
    pool: Pool,
    /// How long an attempt may take before its connection counts as lost.
    limit: Duration,
}

impl Attempts {
    pub(super) fn new(pool: Pool, statement_timeout: Duration) -> Self {
        Self { pool, limit: statement_timeout.saturating_add(ATTEMPT_MARGIN) }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs a statement, again where the connection broke.
    pub(super) async fn repeat<T, Running>(
        &self,
        statement: impl Fn(Arc<Connection>) -> Running,
    ) -> Result<T, MetadataError>
    where
        Running: Future<Output = Result<T, Failure>>,
    {
        self.repeat_for(PATIENCE, statement).await
    }

    /// [`Self::repeat`] with a patience of its own.
    pub(super) async fn repeat_for<T, Running>(
        &self,
        patience: Duration,
        statement: impl Fn(Arc<Connection>) -> Running,
    ) -> Result<T, MetadataError>
    where
        Running: Future<Output = Result<T, Failure>>,
    {
        let mut held = self.slot().await?;
        let mut pauses = Pauses::new(patience);
        loop {
            let attempt = async { statement(held.connection().await?).await };
            match limited(self.limit, attempt).await {
                Ok(value) => return Ok(value),
                Err(failure) => pauses.after(failure, &mut held).await?,
            }
        }
    }

    /// Runs `work` within a transaction that takes effect once.
    pub(super) async fn write<T, Running>(
        &self,
        work: impl Fn(Arc<Connection>) -> Running,
    ) -> Result<T, MetadataError>
    where
        Running: Future<Output = Result<T, Failure>>,
    {
        self.write_within(self.limit, work).await
    }

    /// [`Self::write`] with another limit for each attempt, for what takes time with the number of rows.
    pub(super) async fn write_within<T, Running>(
        &self,
        limit: Duration,
        work: impl Fn(Arc<Connection>) -> Running,
    ) -> Result<T, MetadataError>
    where
        Running: Future<Output = Result<T, Failure>>,
    {
        let mut held = self.slot().await?;
        held.slot().sequence += 1;
        let mut pauses = Pauses::new(PATIENCE);
        // What the last attempt computed, if it came as far as COMMIT.
        let mut computed = None;
        loop {
            let attempt = limited(limit, transact(&mut held, &work, &mut computed)).await;
            match attempt {
                Ok(()) => return Ok(computed.expect("a write that committed had computed its answer")),
                Err(failure) => {
                    let unknown = computed.is_some();
                    pauses.after(failure, &mut held).await.map_err(|error| told(error, unknown))?;
                }
            }
        }
    }

    /// Runs `work` within a transaction that is undone, whatever it did. `begin`: "BEGIN" or [`ONE_MOMENT`].
    pub(super) async fn undone<T, Running>(
        &self,
        begin: &'static str,
        work: impl Fn(Arc<Connection>) -> Running,
    ) -> Result<T, MetadataError>
    where
        Running: Future<Output = Result<T, Failure>>,
    {
        let mut held = self.slot().await?;
        let mut pauses = Pauses::new(PATIENCE);
        loop {
            // Without a limit: it is asked for by people, and as long as they ask.
            let attempt = async {
                let connection = held.connection().await?;
                held.slot().in_transaction = true;
                connection.command(begin).await?;
                let outcome = work(connection.clone()).await;
                held.slot().in_transaction = connection.command("ROLLBACK").await.is_err();
                outcome
            };
            match attempt.await {
                Ok(value) => return Ok(value),
                Err(failure) => pauses.after(failure, &mut held).await?,
            }
        }
    }

    /// Makes the first connection and sees to the schema.
    pub(super) async fn prepare(&self, patience: Duration, migrate: bool) -> Result<(), MetadataError> {
        let mut held = self.slot().await?;
        let mut pauses = Pauses::new(patience);
        loop {
            // Without a limit: a migration takes as long as it takes.
            let attempt = async {
                let connection = held.connection().await?;
                if !migrate {
                    return schema::check(&connection).await;
                }
                held.slot().in_transaction = true;
                schema::migrate(&connection).await?;
                held.slot().in_transaction = false;
                Ok(())
            };
            match attempt.await {
                Ok(()) => return Ok(()),
                Err(failure) => pauses.after(failure, &mut held).await?,
            }
        }
    }

    async fn slot(&self) -> Result<Held<'_>, MetadataError> {
        tokio::time::timeout(SLOT_PATIENCE, self.pool.slot()).await.unwrap_or_else(|_| {
            Err(unavailable(format!("all connections were in use for {} s", SLOT_PATIENCE.as_secs())))
        })
    }
}

async fn limited<T>(
    limit: Duration,
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| {
        Err(Failure::lost(format!("PostgreSQL gave no answer within {} s", limit.as_secs())))
    })
}

/// One attempt at a write. `computed` is set from before COMMIT on until it is known that it failed.
async fn transact<T, Running>(
    held: &mut Held<'_>,
    work: impl Fn(Arc<Connection>) -> Running,
    computed: &mut Option<T>,
) -> Result<(), Failure>
where
    Running: Future<Output = Result<T, Failure>>,
{
    let (id, sequence) = (held.slot().id, held.slot().sequence);
    let connection = held.connection().await?;
    held.slot().in_transaction = true;
    // Sent together, in this order.
    let (id, now) = (id.as_bytes().as_slice(), TimeColumn::now());
    let values: Parameters<'_> = &[&id, &sequence, &now];
    let ((), marked) = try_join(connection.command("BEGIN"), connection.execute(MARK, values)).await?;
    if marked == 0 {
        connection.command("ROLLBACK").await?;
        held.slot().in_transaction = false;
        return Ok(());
    }
    // From here on no earlier attempt can have taken place.
    *computed = None;
    let outcome = work(connection.clone()).await;
    let ended = match outcome {
        Ok(value) => {
            *computed = Some(value);
            connection.command("COMMIT").await
        }
        Err(failure) => {
            // Where this fails too, the connection is given up, and the server undoes what it began.
            let undone = connection.command("ROLLBACK").await;
            held.slot().in_transaction = undone.is_err();
            return Err(failure);
        }
    };
    if !matches!(ended, Err(Failure::Lost(_))) {
        held.slot().in_transaction = false;
        if ended.is_err() {
            *computed = None;
        }
    }
    ended
}

/// Removes the marks of slots that were not used since `before`: their servers are gone, or have nothing to ask.
pub(super) async fn forget_marks(connection: &Connection, before: OffsetDateTime) -> Result<(), Failure> {
    connection.execute("DELETE FROM write_marks WHERE used_at < $1", &[&TimeColumn(before)]).await?;
    Ok(())
}

/// Says so when it is not known whether the write took place.
fn told(error: MetadataError, unknown: bool) -> MetadataError {
    match error {
        MetadataError::Unavailable { reason } if unknown => unavailable(format!(
            "{reason}; whether the change was made is unknown, and making it again is safe"
        )),
        other => other,
    }
}

/// When the next attempt is, and whether there is one.
struct Pauses {
    end: Instant,
    next: Duration,
}

impl Pauses {
    fn new(patience: Duration) -> Self {
        Self { end: Instant::now() + patience, next: FIRST_PAUSE }
    }

    /// Waits before the next attempt. An error: there is none.
    async fn after(&mut self, failure: Failure, held: &mut Held<'_>) -> Result<(), MetadataError> {
        match &failure {
            Failure::Final(_) => return Err(failure.into_error()),
            Failure::Undone(_) => {}
            Failure::Lost(_) => held.disconnect(),
        }
        if Instant::now() + self.next > self.end {
            return Err(failure.into_error());
        }
        tracing::debug!(error = ?failure, "a metadata operation is tried again");
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LAST_PAUSE);
        Ok(())
    }
}
