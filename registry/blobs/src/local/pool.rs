//! The threads that hash and write. A session has one of them only while it has bytes waiting, so a slow client
//! costs no thread; and there are few, since hashing more streams at once than there are cores gains nothing.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::available_parallelism,
    time::Duration,
};

use super::{lock, session::Session};

/// Threads per core: one that hashes, and one more for when that waits for the disk.
const THREADS_PER_CORE: usize = 2;

/// How long a thread without work stays: longer than the gap between two chunks of a fast client, so that such
/// an upload does not start a thread per chunk.
const LINGER: Duration = Duration::from_millis(5);

/// The threads and the sessions that wait for one.
#[derive(Debug)]
pub(super) struct WriterPool {
    state: Mutex<State>,
    wake: Condvar,
    most_threads: usize,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Arc<Session>>,
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
        let mut state = lock(&self.state);
        state.ready.push_back(session);
        if state.ready.len() <= state.idle {
            self.wake.notify_one();
        } else if state.threads < self.most_threads {
            state.threads += 1;
            let mut thread = Thread { pool: Arc::clone(self), counted: true };
            tokio::task::spawn_blocking(move || thread.run_blocking());
        }
    }
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
            if let Some(session) = state.ready.pop_front() {
                drop(state);
                let again = session.turn_blocking();
                state = lock(&pool.state);
                if again {
                    state.ready.push_back(session);
                }
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
