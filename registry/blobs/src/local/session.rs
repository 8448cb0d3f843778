//! An upload session on the local disk: a queue of chunks, and the file and hasher they go to.
//!
//! At any moment at most one thread works on a session's file. Chunks are hashed and written in the order they
//! were queued. A session that failed or was taken over stays so: nothing more reaches its file.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use registry_types::{DigestHasher, HashState, UploadId};
use tokio::sync::Semaphore;

use super::{
    Shared,
    failure::Failure,
    lock,
    pool::WriterPool,
    write_job::{Queued, UnderWay, Write},
};
use crate::BlobError;

/// Most bytes of one session that wait to be written. Enough to keep hashing while the socket is read, few
/// enough that a stalled disk is felt by the client at once.
pub(super) const SESSION_QUEUE: usize = 1 << 20;

/// Bytes that are hashed and written together: few calls, and they stay in the core's cache between the two.
pub(super) const BATCH: usize = 256 << 10;

/// Bytes a pool thread writes for one session before others have their turn.
const TURN: u64 = SESSION_QUEUE as u64;

/// Bytes after which the disk is told to start writing, so that the sync at the end finds little left to do.
const WRITEBACK_STEP: u64 = 8 << 20;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: UploadId,
    pub(super) path: PathBuf,
    pub(super) shared: Arc<Shared>,
    /// Room in the queue, in bytes.
    pub(super) room: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// The file's end; empty before it is opened and after it was committed or closed.
    ingest: Mutex<Option<Ingest>>,
    /// Held while the file is opened, synced or renamed. Where both are held, taken before `ingest`.
    sync: Mutex<SyncState>,
}

#[derive(Debug, Default)]
struct Queue {
    chunks: VecDeque<Queued>,
    /// Sum of the chunks' lengths.
    length: usize,
    /// Whether the pool knows of the chunks.
    submitted: bool,
    failure: Option<Failure>,
}

#[derive(Debug)]
pub(super) struct Ingest {
    pub(super) file: Arc<File>,
    pub(super) hasher: DigestHasher,
    /// Where early write-back has come to.
    written_back: u64,
}

#[derive(Debug, Default)]
struct SyncState {
    /// A sync failed, or another took the session over: the file is no longer this session's.
    lost: bool,
    /// The file's name is durable.
    named: bool,
}

impl Session {
    pub(super) fn new(id: UploadId, shared: Arc<Shared>) -> Self {
        Self {
            id,
            path: shared.layout.session(id),
            shared,
            room: Arc::new(Semaphore::new(SESSION_QUEUE)),
            queue: Mutex::default(),
            ingest: Mutex::default(),
            sync: Mutex::default(),
        }
    }

    /// Opens the session's file at `progress` and cuts off what lies behind it.
    pub(super) fn open_blocking(&self, progress: &HashState) -> Result<(), BlobError> {
        let mut sync = lock(&self.sync);
        let lost = || BlobError::UploadLost { id: self.id };
        if sync.lost {
            return Err(lost());
        }
        let hasher = DigestHasher::restore(progress).ok_or_else(lost)?;
        let begun = progress.length > 0;
        let open =
            || OpenOptions::new().read(true).write(true).create(!begun).truncate(false).open(&self.path);
        let (mut made_again, mut opened) = (false, open());
        if let Ok(file) = &opened {
            let metadata = file.metadata().map_err(|error| self.failed("read the length of", &error))?;
            // A second name is a blob's, left by a crash inside a rename made of two steps: hands off its bytes.
            if metadata.nlink() > 1 {
                fs::remove_file(&self.path).map_err(|error| self.failed("remove", &error))?;
                if !begun {
                    return Err(lost());
                }
                opened = open();
            }
        }
        let whole = match &opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(self.failed("open", error)),
            Ok(file) => file.metadata().is_ok_and(|metadata| metadata.len() >= progress.length),
        };
        if !whole {
            self.copy_back_blocking(&hasher)?;
            (made_again, opened) = (true, open());
        }
        let file = opened.map_err(|error| self.failed("open", &error))?;
        let metadata = file.metadata().map_err(|error| self.failed("read the length of", &error))?;
        if metadata.len() > progress.length {
            file.set_len(progress.length).map_err(|error| self.failed("cut", &error))?;
        }
        // Recorded progress came from a checkpoint, and that made the name durable.
        sync.named = begun && !made_again;
        let written_back = progress.length;
        *lock(&self.ingest) = Some(Ingest { file: Arc::new(file), hasher, written_back });
        Ok(())
    }

    /// Makes the session's file again from the blob that it became: a crash after the rename and before anybody was
    /// told leaves a blob without a link, and a client that was promised its bytes. The hash state proves that they
    /// are the same. A crash inside the copy leaves a short file, which is made again.
    fn copy_back_blocking(&self, hasher: &DigestHasher) -> Result<(), BlobError> {
        let data = self.shared.layout.blob_directory(&hasher.clone().finish()).join("data");
        let lost = || BlobError::UploadLost { id: self.id };
        match fs::metadata(&data) {
            Ok(stored) if stored.len() == hasher.length() => {}
            Ok(_) => return Err(lost()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(lost()),
            Err(error) => return Err(self.failed("look for the blob of", &error)),
        }
        fs::copy(&data, &self.path).map_err(|error| self.failed("copy back", &error))?;
        Ok(())
    }

    pub(super) fn failed(&self, action: &'static str, error: &io::Error) -> BlobError {
        Failure::of(action, &self.path, error).error(self.id)
    }

    /// Why the session takes no more bytes, if it does not.
    pub(super) fn check(&self) -> Result<(), BlobError> {
        lock(&self.queue).failure.as_ref().map_or(Ok(()), |failure| Err(failure.error(self.id)))
    }

    /// Queues a chunk. True when the pool has to be told, which a queue shorter than [`BATCH`] can wait for
    /// while `patient`.
    pub(super) fn push(&self, chunk: Queued, patient: bool) -> Result<bool, BlobError> {
        let mut queue = lock(&self.queue);
        if let Some(failure) = &queue.failure {
            return Err(failure.error(self.id));
        }
        queue.length += chunk.bytes.len();
        queue.chunks.push_back(chunk);
        if queue.submitted || (patient && queue.length < BATCH) {
            return Ok(false);
        }
        queue.submitted = true;
        Ok(true)
    }

    /// True when chunks wait that the pool has to be told of.
    pub(super) fn needs_turn(&self) -> bool {
        let mut queue = lock(&self.queue);
        let needs = !queue.submitted && !queue.chunks.is_empty();
        queue.submitted |= needs;
        needs
    }

    /// A pool thread's turn; true when the session needs another.
    pub(super) fn turn_blocking(&self) -> bool {
        let mut ingest = lock(&self.ingest);
        let until = ingest.as_ref().map_or(0, |ingest| ingest.hasher.length() + TURN);
        // A failure is kept in the queue, for the writer to find.
        let _ = self.drain(&mut ingest, until);
        drop(ingest);
        let mut queue = lock(&self.queue);
        queue.submitted = !queue.chunks.is_empty();
        queue.submitted
    }

    /// Hashes and writes what is queued, until the file is `until` bytes long or the queue is empty.
    fn drain(&self, ingest: &mut Option<Ingest>, until: u64) -> Result<(), BlobError> {
        let failed = |error| self.fail(Failure::of("write", &self.path, &error));
        let mut under_way = UnderWay::default();
        loop {
            let batch = self.next_batch()?;
            under_way.settle_blocking().map_err(failed)?;
            if batch.is_empty() {
                return Ok(());
            }
            let Some(ingest) = ingest.as_mut() else { return Err(self.fail(Failure::Lost)) };
            ingest.take_in(batch, &self.shared.pool, &mut under_way).map_err(failed)?;
            if ingest.hasher.length() >= until {
                return under_way.settle_blocking().map_err(failed);
            }
        }
    }

    fn next_batch(&self) -> Result<Vec<Queued>, BlobError> {
        let mut queue = lock(&self.queue);
        if let Some(failure) = &queue.failure {
            return Err(failure.error(self.id));
        }
        let mut batch = Vec::new();
        let mut length = 0;
        while length < BATCH {
            let Some(chunk) = queue.chunks.pop_front() else { break };
            length += chunk.bytes.len();
            batch.push(chunk);
        }
        queue.length -= length;
        Ok(batch)
    }

    /// Ends the session; the first failure is the one that is told.
    fn fail(&self, failure: Failure) -> BlobError {
        let mut queue = lock(&self.queue);
        queue.chunks.clear();
        queue.length = 0;
        queue.failure.get_or_insert(failure).error(self.id)
    }

    /// Makes the first `until` bytes handed over durable, and gives the progress that is.
    pub(super) fn checkpoint_blocking(&self, until: u64) -> Result<HashState, BlobError> {
        let (file, progress) = {
            let mut ingest = lock(&self.ingest);
            self.drain(&mut ingest, until)?;
            let Some(ingest) = ingest.as_ref() else { return Err(self.fail(Failure::Lost)) };
            (Arc::clone(&ingest.file), ingest.hasher.save())
        };
        let mut sync = lock(&self.sync);
        self.sync_blocking(&mut sync, || registry_io::sync_data(&file))?;
        if !sync.named {
            let uploads = self.shared.layout.uploads();
            self.sync_blocking(&mut sync, || registry_io::sync_directory(uploads))?;
            sync.named = true;
        }
        Ok(progress)
    }

    /// Syncs once. A failed sync ends the session and removes its file: nobody knows what is in it, and a second
    /// sync would not tell.
    fn sync_blocking(
        &self,
        sync: &mut SyncState,
        step: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), BlobError> {
        if sync.lost {
            return Err(self.fail(Failure::Lost));
        }
        let Err(error) = step() else { return Ok(()) };
        sync.lost = true;
        let _ = fs::remove_file(&self.path);
        Err(self.fail(Failure::of("sync", &self.path, &error)))
    }

    /// Writes what is left, then hands file and hasher to `finish` and after it to nobody else. `finish` gets the
    /// function that syncs the file.
    pub(super) fn finish_blocking<T>(
        &self,
        finish: impl FnOnce(&Ingest, &mut dyn FnMut() -> Result<(), BlobError>) -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        let ingest = {
            let mut ingest = lock(&self.ingest);
            self.drain(&mut ingest, u64::MAX)?;
            ingest.take()
        };
        let Some(ingest) = ingest else { return Err(self.fail(Failure::Lost)) };
        let mut sync = lock(&self.sync);
        if sync.lost {
            return Err(self.fail(Failure::Lost));
        }
        finish(&ingest, &mut || self.sync_blocking(&mut sync, || registry_io::sync_data(&ingest.file)))
    }

    /// Takes the file away from this session; afterwards nothing of it is under way.
    pub(super) fn close_blocking(&self) {
        self.fail(Failure::Lost);
        let mut sync = lock(&self.sync);
        sync.lost = true;
        *lock(&self.ingest) = None;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.forget_ended(self.id);
    }
}

impl Ingest {
    /// Hashes a batch and has it written.
    fn take_in(
        &mut self,
        batch: Vec<Queued>,
        pool: &Arc<WriterPool>,
        under_way: &mut UnderWay,
    ) -> io::Result<()> {
        let length: usize = batch.iter().map(|chunk| chunk.bytes.len()).sum();
        let offset = self.hasher.length();
        let end = offset + length as u64;
        let write_back = (end - self.written_back >= WRITEBACK_STEP).then_some(self.written_back..end);
        if let Some(range) = &write_back {
            self.written_back = range.end;
        }
        let batch = Arc::new(batch);
        let write = Write { file: Arc::clone(&self.file), batch: Arc::clone(&batch), offset, write_back };
        if length >= BATCH {
            under_way.offer(pool, write);
            self.hash(&batch);
            return Ok(());
        }
        // The end of an upload, or a small one: not worth another thread.
        self.hash(&batch);
        write.run_blocking()
    }

    fn hash(&mut self, batch: &[Queued]) {
        for chunk in batch {
            self.hasher.update(&chunk.bytes);
        }
    }
}

#[cfg(test)]
mod tests;
