//! The reader threads. A read begins its own transaction, so it sees every write committed before it began.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    connection,
    error::closed,
    worker::{Command, Workers},
};
use crate::MetadataError;

/// Reads waiting for a thread. They hold keys, not content; beyond this callers wait their turn.
const QUEUE: usize = 1_024;

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;
type Queue = Arc<Mutex<mpsc::Receiver<Command<ReadJob>>>>;

#[derive(Debug)]
pub(super) struct Readers {
    workers: Workers<ReadJob>,
}

impl Readers {
    pub(super) fn open_blocking(path: &Path, threads: usize) -> Result<Self, MetadataError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let workers = Workers::new(sender);
        let queue: Queue = Arc::new(Mutex::new(receiver));
        for _ in 0..threads.max(1) {
            let connection = connection::open_reader_blocking(path)?;
            let queue = queue.clone();
            workers.start("metadata-reader", move || serve(&connection, &queue))?;
        }
        Ok(Self { workers })
    }

    /// Runs `query` on a reader's thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, MetadataError> + Send + 'static,
    ) -> Result<T, MetadataError> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &Connection| {
            // A caller that went away meanwhile needs no answer.
            if !reply.is_closed() {
                let _ = reply.send(query(connection));
            }
        };
        self.workers.send(Box::new(job)).await?;
        answer.await.map_err(|_| closed())?
    }

    pub(super) async fn close(&self) {
        self.workers.close().await;
    }
}

fn serve(connection: &Connection, queue: &Queue) {
    while let Some(job) = next(queue) {
        job(connection);
    }
}

/// One idle thread waits in the queue, the others for its lock; a job is run with neither.
fn next(queue: &Queue) -> Option<ReadJob> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match queue.blocking_recv()? {
            Command::Work(job) => return Some(job),
            Command::Close => queue.close(),
        }
    }
}
