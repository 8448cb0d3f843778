//! The threads that hash and write. A session has one of them only while it has bytes waiting, so a slow client
//! costs no thread; and there are few, since hashing more streams at once than there are cores gains nothing.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use super::{lock, session::Session, write_job::WriteJob};

/// Threads per core: one that hashes, and one more for when that waits for the disk.
const THREADS_PER_CORE: usize = 2;

/// How long a thread without work stays: longer than the gap between two chunks of a fast client, so that such
/// an upload does not start a thread per chunk.
const LINGER: Duration = Duration::from_millis(5);

/// The threads and the work that waits for one.
#[derive(Debug)]
pub(super) struct WriterPool {
    state: Mutex<State>,
    wake: Condvar,
    most_threads: usize,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Work>,
    threads: usize,
    idle: usize,
}

impl WriterPool {
    pub(super) fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self { state: Mutex::default(), wake: Condvar::new(), most_threads: cores * THREADS_PER_CORE }
    }

    /// Gives a session a turn as soon as a thread is free. Does not block.
    pub(super) fn submit(self: &Arc<Self>, session: Arc<Session>) {
        self.queue(Work::Turn(session));
    }

    /// Has a thread carry out a write if one comes to it before it is taken back. Does not block.
    pub(super) fn offer(self: &Arc<Self>, job: Arc<WriteJob>) {
        self.queue(Work::Write(job));
    }

    fn queue(self: &Arc<Self>, work: Work) {
        let mut state = lock(&self.state);
        state.ready.push_back(work);
        if state.ready.len() <= state.idle {
            self.wake.notify_one();
        } else if state.threads < self.most_threads {
            state.threads += 1;
            let mut thread = Thread { pool: Arc::clone(self), counted: true };
            tokio::task::spawn_blocking(move || thread.run_blocking());
        }
    }
}

/// Something for a thread to do.
#[derive(Debug)]
enum Work {
    Turn(Arc<Session>),
    Write(Arc<WriteJob>),
}

/// A thread of the pool; counted until it ends, even if its runtime ends before it has begun.
struct Thread {
    pool: Arc<WriterPool>,
    counted: bool,
}

impl Thread {
    fn run_blocking(&mut self) {
        let pool = Arc::clone(&self.pool);
        let mut state = lock(&pool.state);
        loop {
            if let Some(work) = state.ready.pop_front() {
                drop(state);
                let again = match work {
                    Work::Turn(session) => session.turn_blocking().then_some(Work::Turn(session)),
                    Work::Write(job) => {
                        job.run_blocking();
                        None
                    }
                };
                state = lock(&pool.state);
                state.ready.extend(again);
                continue;
            }
            state.idle += 1;
            let woken = pool.wake.wait_timeout(state, LINGER);
            let (after, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            state = after;
            state.idle -= 1;
            if timeout.timed_out() && state.ready.is_empty() {
                // Under the lock that saw no work, so that work which comes next finds this thread gone.
                state.threads -= 1;
                self.counted = false;
                return;
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.counted {
            lock(&self.pool.state).threads -= 1;
        }
    }
}
