//! The one writer: group commit.
//!
//! Every write that waits when the thread comes round goes into one transaction, each within a savepoint, and is
//! answered after the one commit that makes all of them durable. So a write that fails by itself (a manifest
//! that lacks a blob) undoes only itself; and sixteen pushers pay for one sync, not sixteen.
//!
//! Order: savepoints, cache `begin`, COMMIT (synced), cache `end`, answers. When the commit fails, nothing of the
//! batch is in the database and every caller of it is told so.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::{
    Caches, Changes, connection,
    error::closed,
    schema,
    worker::{Command, Workers},
};
use crate::MetadataError;

/// Writes waiting for the thread. Each belongs to a request that holds its content anyway; beyond this callers
/// wait.
const QUEUE: usize = 256;

/// Most content in one transaction, in bytes: a few of the largest manifests (4 MiB). Beyond this the sync costs
/// more than what sharing it saves.
const BATCH_BYTES: usize = 16 << 20;

/// Between two attempts to begin after SQLite's own waiting gave up at once, and how long attempts go on. SQLite
/// does not wait where two processes could wait for each other.
const BEGIN_PAUSE: Duration = Duration::from_millis(5);
const BEGIN_PATIENCE: Duration = Duration::from_secs(10);

/// Whether this process is the one that serves, or stands beside one that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Sole,
    Beside,
}

trait Job: Send {
    /// Content the job writes, in bytes.
    fn bytes(&self) -> usize;
    /// True when it succeeded; otherwise what it did is to be undone.
    fn run(&mut self, connection: &Connection, changes: &mut Changes) -> bool;
    /// Why it did not succeed, as every job of its batch is to be told.
    fn failure(&self) -> MetadataError;
    /// Tells the caller. `failure`: why the whole batch was undone.
    fn answer(self: Box<Self>, failure: Option<&MetadataError>);
}

struct Write<T, F> {
    bytes: usize,
    work: Option<F>,
    outcome: Option<Result<T, MetadataError>>,
    reply: oneshot::Sender<Result<T, MetadataError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut Changes) -> Result<T, MetadataError> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, connection: &Connection, changes: &mut Changes) -> bool {
        self.outcome = self.work.take().map(|work| work(connection, changes));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn failure(&self) -> MetadataError {
        match &self.outcome {
            Some(Err(error)) => shared(error),
            _ => closed(),
        }
    }

    fn answer(self: Box<Self>, failure: Option<&MetadataError>) {
        let answer = match (self.outcome, failure) {
            // An error found in the same batch may rest on a write that is undone now, so it is not told.
            (_, Some(failure)) => Err(shared(failure)),
            (Some(outcome), None) => outcome,
            (None, None) => Err(closed()),
        };
        // The caller may have gone; the write is done all the same.
        let _ = self.reply.send(answer);
    }
}

/// A failure as it is told to callers whose own writes did not cause it.
fn shared(failure: &MetadataError) -> MetadataError {
    match failure {
        MetadataError::Full => MetadataError::Full,
        MetadataError::Unavailable { reason } => MetadataError::Unavailable { reason: reason.clone() },
        other => MetadataError::Unavailable { reason: other.to_string() },
    }
}

#[derive(Debug)]
pub(super) struct Writer {
    workers: Workers<Box<dyn Job>>,
}

impl Writer {
    pub(super) fn open_blocking(path: &Path, role: Role, caches: Arc<Caches>) -> Result<Self, MetadataError> {
        let mut connection = connection::open_writer_blocking(path)?;
        match role {
            Role::Sole => schema::migrate_blocking(&mut connection)?,
            Role::Beside => schema::check_blocking(&connection)?,
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        let workers = Workers::new(sender);
        workers.start("metadata-writer", move || {
            WriterThread { connection, caches, queue: receiver, role }.serve();
        })?;
        Ok(Self { workers })
    }

    /// Runs `work` within a transaction and answers once that is durable. `bytes`: the content it writes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection, &mut Changes) -> Result<T, MetadataError> + Send + 'static,
    ) -> Result<T, MetadataError> {
        let (reply, answer) = oneshot::channel();
        self.workers.send(Box::new(Write { bytes, work: Some(work), outcome: None, reply })).await?;
        answer.await.map_err(|_| closed())?
    }

    pub(super) async fn close(&self) {
        self.workers.close().await;
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.workers.queued()
    }
}

struct WriterThread {
    connection: Connection,
    caches: Arc<Caches>,
    queue: mpsc::Receiver<Command<Box<dyn Job>>>,
    role: Role,
}

impl WriterThread {
    fn serve(mut self) {
        while let Some(command) = self.queue.blocking_recv() {
            match command {
                Command::Work(first) => {
                    let batch = self.gather(first);
                    self.commit(batch);
                }
                Command::Close => self.queue.close(),
            }
        }
        if self.role == Role::Sole
            && let Err(error) = self.checkpoint()
        {
            // Nothing is lost: the log holds it, and the next start reads it.
            tracing::warn!(%error, "the metadata log was not copied into the database on closing");
        }
    }

    /// Copies the log into the database and empties it.
    fn checkpoint(&self) -> Result<(), MetadataError> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// Copies the log into the database so that the next write starts the log again: on a full disk the log's own
    /// room is what is left.
    fn reuse_log(&self) {
        // PASSIVE waits for no reader.
        let copied = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = copied {
            // Nothing is lost: the log holds it, and a later copy takes it.
            tracing::warn!(%error, "the metadata log was not copied into the database on a full disk");
        }
    }

    /// Takes what waits, without waiting for more.
    fn gather(&mut self, first: Box<dyn Job>) -> Vec<Box<dyn Job>> {
        let mut bytes = first.bytes();
        let mut batch = vec![first];
        while bytes < BATCH_BYTES && batch.len() < QUEUE {
            match self.queue.try_recv() {
                Ok(Command::Work(job)) => {
                    bytes += job.bytes();
                    batch.push(job);
                }
                Ok(Command::Close) => self.queue.close(),
                Err(_) => break,
            }
        }
        batch
    }

    fn commit(&self, mut batch: Vec<Box<dyn Job>>) {
        let outcome = self.transact(&mut batch);
        if let Err(error) = &outcome {
            tracing::warn!(%error, writes = batch.len(), "a metadata transaction was undone");
        }
        if let Err(MetadataError::Full) = outcome {
            self.reuse_log();
        }
        for job in batch {
            job.answer(outcome.as_ref().err());
        }
    }

    fn transact(&self, batch: &mut [Box<dyn Job>]) -> Result<(), MetadataError> {
        self.begin()?;
        let mut changes = Changes::default();
        let mut done = self.run_all(batch, &mut changes);
        if done.is_ok() {
            self.caches.begin(&changes);
            done = self.commit_transaction();
            self.caches.end(&changes);
        }
        // SQLite has undone the transaction itself after some errors, such as a full disk.
        if done.is_err() && !self.connection.is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        done
    }

    fn begin(&self) -> Result<(), MetadataError> {
        // Left over when a failing disk refused even to undo.
        if !self.connection.is_autocommit() {
            self.execute("ROLLBACK")?;
        }
        let deadline = Instant::now() + BEGIN_PATIENCE;
        loop {
            // IMMEDIATE: a transaction that reads first and writes later could not go on after another process's.
            let begun = self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]);
            match begun {
                Err(error)
                    if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(BEGIN_PAUSE);
                }
                begun => return Ok(begun.map(drop)?),
            }
        }
    }

    fn run_all(&self, batch: &mut [Box<dyn Job>], changes: &mut Changes) -> Result<(), MetadataError> {
        for job in batch {
            self.execute("SAVEPOINT job")?;
            let mut own = Changes::default();
            if job.run(&self.connection, &mut own) {
                changes.append(own);
            } else if self.connection.is_autocommit() {
                // The error ended the whole transaction; it is the reason for all.
                return Err(job.failure());
            } else {
                self.execute("ROLLBACK TO job")?;
            }
            self.execute("RELEASE job")?;
        }
        Ok(())
    }

    fn commit_transaction(&self) -> Result<(), MetadataError> {
        before_commit()?;
        self.execute("COMMIT")?;
        after_commit();
        Ok(())
    }

    fn execute(&self, statement: &'static str) -> Result<(), MetadataError> {
        self.connection.prepare_cached(statement)?.execute([])?;
        Ok(())
    }
}

#[cfg(feature = "failpoints")]
fn before_commit() -> Result<(), MetadataError> {
    fail::fail_point!("metadata-before-commit", |reason| Err(MetadataError::Unavailable {
        reason: reason.unwrap_or_else(|| "failpoint".to_owned()),
    }));
    Ok(())
}

#[cfg(feature = "failpoints")]
fn after_commit() {
    fail::fail_point!("metadata-after-commit");
}

#[cfg(not(feature = "failpoints"))]
#[expect(clippy::unnecessary_wraps, reason = "the failpoint fails")]
fn before_commit() -> Result<(), MetadataError> {
    Ok(())
}

#[cfg(not(feature = "failpoints"))]
fn after_commit() {}
