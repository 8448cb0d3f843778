//! A batch of chunks on its way to the file. Writing it and hashing it may go on at once: the write is offered to
//! the pool, and the thread that hashed takes it back if no other came for it. So one fast upload uses two cores,
//! and many at once lose nothing to handing work about.

use std::{
    fs::File,
    io::{self, IoSlice},
    mem,
    ops::Range,
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{free_space, lock, pool::WriterPool};

/// A chunk and the room it takes, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) bytes: Bytes,
    _room: [OwnedSemaphorePermit; 2],
}

impl Queued {
    /// A chunk with the room it has in its session's queue and in the store's.
    pub(super) fn new(bytes: Bytes, room: [OwnedSemaphorePermit; 2]) -> Self {
        Self { bytes, _room: room }
    }
}

/// One write to a session's file, and what to start writing back after it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) file: Arc<File>,
    pub(super) batch: Arc<Vec<Queued>>,
    pub(super) offset: u64,
    pub(super) write_back: Option<Range<u64>>,
}

impl Write {
    pub(super) fn run_blocking(&self) -> io::Result<()> {
        free_space::check_blocking(
            &self.file,
            self.batch.iter().map(|chunk| chunk.bytes.len() as u64).sum(),
        )?;
        let mut slices: Vec<IoSlice<'_>> =
            self.batch.iter().map(|chunk| IoSlice::new(&chunk.bytes)).collect();
        write_all_at(&self.file, &mut slices, self.offset)?;
        match &self.write_back {
            Some(range) => registry_io::start_writeback(&self.file, range.start, range.end - range.start),
            None => Ok(()),
        }
    }
}

/// A write that any thread of the pool may carry out.
#[derive(Debug)]
pub(super) struct WriteJob {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug)]
enum State {
    Offered(Write),
    Taken,
    Done(io::Result<()>),
}

impl WriteJob {
    /// Carries the write out unless somebody has it.
    pub(super) fn run_blocking(&self) {
        let mut state = lock(&self.state);
        if !matches!(*state, State::Offered(_)) {
            return;
        }
        let State::Offered(write) = mem::replace(&mut *state, State::Taken) else { return };
        drop(state);
        let done = write.run_blocking();
        // The chunks' room is free before anybody learns that they are written.
        drop(write);
        *lock(&self.state) = State::Done(done);
        self.done.notify_one();
    }

    /// Waits for the write, or carries it out here.
    fn settle_blocking(&self) -> io::Result<()> {
        self.run_blocking();
        let mut state = lock(&self.state);
        loop {
            match mem::replace(&mut *state, State::Taken) {
                State::Done(done) => return done,
                other => *state = other,
            }
            state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The write under way of a session; at most one, and none once this is dropped.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    job: Option<Arc<WriteJob>>,
}

impl UnderWay {
    /// Offers a write to the pool. The one before must be settled.
    pub(super) fn offer(&mut self, pool: &Arc<WriterPool>, write: Write) {
        let job = Arc::new(WriteJob { state: Mutex::new(State::Offered(write)), done: Condvar::new() });
        debug_assert!(self.job.is_none(), "one write at a time");
        self.job = Some(Arc::clone(&job));
        pool.offer(job);
    }

    /// Waits until no write is under way, and tells how the last one went.
    pub(super) fn settle_blocking(&mut self) -> io::Result<()> {
        self.job.take().map_or(Ok(()), |job| job.settle_blocking())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // On the way out of an error, which is the one that is told.
        let _ = self.settle_blocking();
    }
}

/// Slices that one call takes: the kernel's limit (`IOV_MAX`).
const MOST_SLICES: usize = 1024;

fn write_all_at(file: &File, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    while !slices.is_empty() {
        let (first, _) = slices.split_at(slices.len().min(MOST_SLICES));
        match rustix::io::pwritev(file, first, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                IoSlice::advance_slices(&mut slices, count);
                offset += count as u64;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn more_slices_than_one_call_takes_are_written_whole() {
        let file = tempfile::tempfile().expect("a temporary file");
        let bytes: Vec<u8> = (0..5000_u32).map(|place| place as u8).collect();
        let mut slices: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        write_all_at(&file, &mut slices, 10).expect("written");
        let mut read = vec![0; bytes.len()];
        file.read_exact_at(&mut read, 10).expect("all is there");
        assert!(read == bytes);
    }

    #[test]
    fn an_offered_write_is_done_once_by_whoever_comes() {
        let file = Arc::new(tempfile::tempfile().expect("a temporary file"));
        let write = |offset| Write {
            file: Arc::clone(&file),
            batch: Arc::new(vec![Queued::new(Bytes::from_static(b"bytes"), [permit(), permit()])]),
            offset,
            write_back: Some(0..5),
        };
        // Nobody comes.
        let alone = WriteJob { state: Mutex::new(State::Offered(write(0))), done: Condvar::new() };
        alone.settle_blocking().expect("written here");
        alone.run_blocking();
        // Another thread comes.
        let shared = Arc::new(WriteJob { state: Mutex::new(State::Offered(write(5))), done: Condvar::new() });
        let other = Arc::clone(&shared);
        let thread = std::thread::spawn(move || other.run_blocking());
        shared.settle_blocking().expect("written by either");
        thread.join().expect("no panic");
        let mut read = [0; 10];
        file.read_exact_at(&mut read, 0).expect("all is there");
        assert_eq!(&read, b"bytesbytes");
        assert_eq!(file.metadata().expect("metadata").len(), 10);
    }

    #[test]
    fn a_failed_write_is_told_to_its_session() {
        let (reader, _writer) = rustix::pipe::pipe().expect("a pipe");
        let write = Write {
            file: Arc::new(File::from(reader)),
            batch: Arc::new(vec![Queued::new(Bytes::from_static(b"bytes"), [permit(), permit()])]),
            offset: 0,
            write_back: None,
        };
        let job = WriteJob { state: Mutex::new(State::Offered(write)), done: Condvar::new() };
        job.run_blocking();
        assert!(job.settle_blocking().is_err());
    }

    fn permit() -> OwnedSemaphorePermit {
        Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().expect("free")
    }
}
