//! Threads that own a connection each and take work from a bounded queue. No connection is ever used from two
//! threads, and no caller's thread ever waits for a disk.

use std::{
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::mpsc;

use super::error::closed;
use crate::MetadataError;

/// A queue's entry.
pub(super) enum Command<J> {
    Work(J),
    /// The queue takes nothing more; what stands in it is done.
    Close,
}

/// The sending end of a queue, and the threads behind it.
pub(super) struct Workers<J> {
    /// `None` only while dropping.
    queue: Option<mpsc::Sender<Command<J>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<J: Send + 'static> Workers<J> {
    pub(super) fn new(queue: mpsc::Sender<Command<J>>) -> Self {
        Self { queue: Some(queue), threads: Mutex::new(Vec::new()) }
    }

    pub(super) fn start(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<(), MetadataError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| {
            MetadataError::Unavailable { reason: format!("no thread can be started: {error}") }
        })?;
        self.threads().push(thread);
        Ok(())
    }

    /// Waits for room in the queue: a store that cannot keep up slows its callers down.
    pub(super) async fn send(&self, job: J) -> Result<(), MetadataError> {
        let Some(queue) = &self.queue else { return Err(closed()) };
        queue.send(Command::Work(job)).await.map_err(|_| closed())
    }

    /// Lets the threads finish what is queued and waits for them.
    pub(super) async fn close(&self) {
        if let Some(queue) = &self.queue {
            // An error: the threads have ended already.
            let _ = queue.send(Command::Close).await;
        }
        let threads = std::mem::take(&mut *self.threads());
        let joined = tokio::task::spawn_blocking(move || join_blocking(threads));
        let _ = joined.await;
    }

    /// How many jobs wait in the queue.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J> std::fmt::Debug for Workers<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("threads", &self.threads).finish_non_exhaustive()
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        self.queue = None;
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        join_blocking(threads);
    }
}

fn join_blocking(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the metadata store ended by a panic");
        }
    }
}
