//! Threads that hash and compress blocks at once and give them back in order.
//!
//! A first thread hashes the blocks one after the other, since a digest of the whole cannot be computed in parts, and
//! hands block number n to worker n modulo the number of workers. Results are taken in the same turn, so order needs no
//! sorting and the output cannot depend on timing. Memory is `workers * DEPTH` blocks and their results.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use registry_types::{Algorithm, DigestHasher};

use super::Compression;
use super::block::BlockCompressor;

/// Blocks per worker that wait, are worked on or lie finished: one being compressed and one or two to keep it busy while
/// the caller reads and writes.
const DEPTH: usize = 3;

/// A block on its way; both buffers come back to be used again.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) block: Vec<u8>,
    /// Room for the compressed block, which fills the first `length` bytes.
    pub(super) room: Vec<u8>,
    pub(super) length: usize,
}

impl Job {
    pub(super) fn compressed(&self) -> &[u8] {
        &self.room[..self.length]
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    /// Absent once no more blocks come.
    jobs: Option<SyncSender<Job>>,
    hashing: Option<JoinHandle<DigestHasher>>,
    results: Vec<Receiver<io::Result<Job>>>,
    workers: Vec<JoinHandle<()>>,
    /// Whose result is the oldest one under way.
    oldest: usize,
    in_flight: usize,
}

impl Pool {
    /// Starts `threads` workers (at least one) and the thread that hashes.
    pub(super) fn start(compression: Compression, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let (jobs, incoming) = sync_channel(threads * DEPTH);
        let mut pool = Self {
            jobs: Some(jobs),
            hashing: None,
            results: Vec::new(),
            workers: Vec::new(),
            oldest: 0,
            in_flight: 0,
        };
        let mut queues = Vec::new();
        for _ in 0..threads {
            let (queue, waiting) = sync_channel(DEPTH);
            let (outgoing, results) = sync_channel(DEPTH);
            let compressor = BlockCompressor::new(compression)?;
            let compressor = compressor.ok_or_else(|| io::Error::other("nothing to compress"))?;
            pool.workers.push(spawn("layer-compress", move || compress(compressor, &waiting, &outgoing))?);
            pool.results.push(results);
            queues.push(queue);
        }
        pool.hashing = Some(spawn("layer-hash", move || hash(&incoming, &queues))?);
        Ok(pool)
    }

    /// Whether a result must be taken before the next block can be sent. While it is not, no queue of any thread can
    /// be full, so no thread ever waits for another one's reader.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight == self.results.len() * DEPTH
    }

    pub(super) fn send(&mut self, job: Job) -> io::Result<()> {
        debug_assert!(!self.is_full(), "a queue must not block its only reader");
        self.jobs.as_ref().ok_or_else(died)?.send(job).map_err(|_| died())?;
        self.in_flight += 1;
        Ok(())
    }

    /// The oldest block, once it is compressed; `None` if none is under way.
    pub(super) fn take(&mut self) -> io::Result<Option<Job>> {
        if self.in_flight == 0 {
            return Ok(None);
        }
        let job = self.results[self.oldest].recv().map_err(|_| died())??;
        self.oldest = (self.oldest + 1) % self.results.len();
        self.in_flight -= 1;
        Ok(Some(job))
    }

    /// Ends the threads and gives the hash of all blocks.
    pub(super) fn finish(mut self) -> io::Result<DigestHasher> {
        self.jobs = None;
        self.hashing.take().ok_or_else(died)?.join().map_err(|_| died())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Without a sender and receivers each thread's loop ends at its next step.
        self.jobs = None;
        self.results.clear();
        if let Some(hashing) = self.hashing.take() {
            let _ = hashing.join();
        }
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

fn hash(incoming: &Receiver<Job>, queues: &[SyncSender<Job>]) -> DigestHasher {
    let mut hasher = DigestHasher::new(Algorithm::Sha256);
    for (job, queue) in incoming.iter().zip(queues.iter().cycle()) {
        hasher.update(&job.block);
        if queue.send(job).is_err() {
            break;
        }
    }
    hasher
}

fn compress(
    mut compressor: BlockCompressor,
    waiting: &Receiver<Job>,
    outgoing: &SyncSender<io::Result<Job>>,
) {
    for mut job in waiting {
        let result = compressor.compress(&job.block, &mut job.room).map(|length| {
            job.length = length;
            job
        });
        if outgoing.send(result).is_err() {
            return;
        }
    }
}

fn died() -> io::Error {
    io::Error::other("a compression thread ended before its work was done")
}
