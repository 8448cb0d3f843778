//! Workers that compress blocks at once and give them back in order.
//!
//! Block number n goes to worker n modulo the number of workers, and results are taken in the same turn, so order
//! needs no sorting and the output cannot depend on timing. Memory is `workers * DEPTH` blocks and their results.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::Compression;
use super::block::BlockCompressor;

/// Blocks that wait at or lie finished in one worker: one being compressed and one or two to keep it busy while the
/// caller hashes and writes.
const DEPTH: usize = 3;

/// A block on its way; both buffers come back to be used again.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) block: Vec<u8>,
    pub(super) compressed: Vec<u8>,
}

#[derive(Debug)]
struct Worker {
    jobs: SyncSender<Job>,
    results: Receiver<io::Result<Job>>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
pub(super) struct Pool {
    workers: Vec<Worker>,
    /// Worker of the next block to send, and of the next result to take.
    next: usize,
    oldest: usize,
    in_flight: usize,
}

impl Pool {
    /// Starts `threads` workers (at least one).
    pub(super) fn start(compression: Compression, threads: usize) -> io::Result<Self> {
        let workers = (0..threads.max(1)).map(|_| Worker::start(compression)).collect::<io::Result<_>>()?;
        Ok(Self { workers, next: 0, oldest: 0, in_flight: 0 })
    }

    /// Whether a result must be taken before the next block can be sent.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight == self.workers.len() * DEPTH
    }

    pub(super) fn send(&mut self, job: Job) -> io::Result<()> {
        debug_assert!(!self.is_full(), "a worker's queue must not block its only reader");
        self.workers[self.next].jobs.send(job).map_err(|_| died())?;
        self.next = (self.next + 1) % self.workers.len();
        self.in_flight += 1;
        Ok(())
    }

    /// The oldest block, once it is compressed; `None` if none is under way.
    pub(super) fn take(&mut self) -> io::Result<Option<Job>> {
        if self.in_flight == 0 {
            return Ok(None);
        }
        let job = self.workers[self.oldest].results.recv().map_err(|_| died())??;
        self.oldest = (self.oldest + 1) % self.workers.len();
        self.in_flight -= 1;
        Ok(Some(job))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for worker in std::mem::take(&mut self.workers) {
            // Without a sender and a receiver the worker's loop ends at its next step.
            drop(worker.jobs);
            drop(worker.results);
            let _ = worker.thread.join();
        }
    }
}

impl Worker {
    fn start(compression: Compression) -> io::Result<Self> {
        let mut compressor =
            BlockCompressor::new(compression)?.ok_or_else(|| io::Error::other("nothing to compress"))?;
        let (jobs, incoming) = sync_channel::<Job>(DEPTH);
        let (outgoing, results) = sync_channel(DEPTH);
        let thread = std::thread::Builder::new().name("layer-compress".to_owned()).spawn(move || {
            for mut job in incoming {
                let result = compressor.compress(&job.block, &mut job.compressed);
                if outgoing.send(result.map(|()| job)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, results, thread })
    }
}

fn died() -> io::Error {
    io::Error::other("a compression thread ended before its work was done")
}
