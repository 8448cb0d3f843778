//! An upload session on the local disk: a queue of chunks, and the file and hasher they go to.
//!
//! At any moment at most one thread works on a session's file. Chunks are hashed and written in the order they
//! were queued. A session that failed or was taken over stays so: nothing more reaches its file.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use registry_types::{DigestHasher, HashState, UploadId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Shared, lock};
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

/// A chunk and the room it takes, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Queued {
    bytes: Bytes,
    _room: [OwnedSemaphorePermit; 2],
}

impl Queued {
    /// A chunk with the room it has in its session's queue and in the store's.
    pub(super) fn new(bytes: Bytes, room: [OwnedSemaphorePermit; 2]) -> Self {
        Self { bytes, _room: room }
    }
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

/// Why a session takes no more bytes. Kept, since every later call has to say it.
#[derive(Debug, Clone)]
enum Failure {
    Full,
    Lost,
    Io { action: &'static str, what: String, code: Option<i32>, kind: io::ErrorKind },
}

impl Failure {
    fn of(action: &'static str, path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            kind => Self::Io { action, what: path.display().to_string(), code: error.raw_os_error(), kind },
        }
    }

    fn error(&self, id: UploadId) -> BlobError {
        match self {
            Self::Full => BlobError::Full,
            Self::Lost => BlobError::UploadLost { id },
            Self::Io { action, what, code, kind } => {
                let source = code.map_or_else(|| (*kind).into(), io::Error::from_raw_os_error);
                BlobError::Io { action, what: what.clone(), source }
            }
        }
    }
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
        let file = OpenOptions::new().read(true).write(true).create(!begun).truncate(false).open(&self.path);
        let file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound && begun => return Err(lost()),
            file => file.map_err(|error| self.failed("open", &error))?,
        };
        let metadata = file.metadata().map_err(|error| self.failed("read the length of", &error))?;
        // A second name is a blob's, left by a crash inside a rename made of two steps: hands off its bytes.
        if metadata.nlink() > 1 {
            fs::remove_file(&self.path).map_err(|error| self.failed("remove", &error))?;
            return Err(lost());
        }
        if metadata.len() < progress.length {
            return Err(lost());
        }
        if metadata.len() > progress.length {
            file.set_len(progress.length).map_err(|error| self.failed("cut", &error))?;
        }
        // Recorded progress came from a checkpoint, and that made the name durable.
        sync.named = begun;
        let written_back = progress.length;
        *lock(&self.ingest) = Some(Ingest { file: Arc::new(file), hasher, written_back });
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
        loop {
            let batch = self.next_batch()?;
            if batch.is_empty() {
                return Ok(());
            }
            let Some(ingest) = ingest.as_mut() else { return Err(self.fail(Failure::Lost)) };
            if let Err(error) = ingest.write(&batch) {
                return Err(self.fail(Failure::of("write", &self.path, &error)));
            }
            if ingest.hasher.length() >= until {
                return Ok(());
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
    fn write(&mut self, batch: &[Queued]) -> io::Result<()> {
        let offset = self.hasher.length();
        for chunk in batch {
            self.hasher.update(&chunk.bytes);
        }
        let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|chunk| IoSlice::new(&chunk.bytes)).collect();
        write_all_at(&self.file, &mut slices, offset)?;
        let ready = self.hasher.length() - self.written_back;
        if ready >= WRITEBACK_STEP {
            registry_io::start_writeback(&self.file, self.written_back, ready)?;
            self.written_back += ready;
        }
        Ok(())
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
    use registry_types::Algorithm;

    use super::*;
    use crate::{BlobStore, BlobWriter, LocalBlobs, suite::nothing_yet};

    #[tokio::test]
    async fn after_a_failed_sync_the_session_is_lost_for_good() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalBlobs::in_directory(folder.path().to_owned()).await.expect("opened");
        let id = UploadId::random();
        let mut writer = store.resume(id, &nothing_yet(Algorithm::Sha256)).await.expect("a new session");
        writer.write(Bytes::from_static(b"bytes")).await.expect("written");
        let progress = writer.checkpoint().await.expect("durable");
        let session = store.shared.live_session(id).expect("alive");
        let error = session
            .sync_blocking(&mut lock(&session.sync), || Err(io::Error::from_raw_os_error(5)))
            .expect_err("made to fail");
        assert!(matches!(error, BlobError::Io { action: "sync", .. }), "{error}");
        assert!(!session.path.exists(), "its bytes are not to be trusted");
        // The file could be synced again without an error: it must not be asked.
        assert!(writer.checkpoint().await.is_err());
        assert!(writer.write(Bytes::from_static(b"more")).await.is_err());
        assert!(writer.commit(&registry_types::Digest::sha256(b"bytes")).await.is_err());
        let error = store.resume(id, &progress).await.expect_err("nothing is there");
        assert!(matches!(error, BlobError::UploadLost { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_per_session_and_for_the_store() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalBlobs::in_directory(folder.path().to_owned()).await.expect("opened");
        let (mut sessions, mut idle) = (Vec::new(), Vec::new());
        let bytes = Bytes::from(vec![7; 3 * SESSION_QUEUE]);
        let digest = registry_types::Digest::sha256(&bytes);
        for _ in 0..16 {
            let id = UploadId::random();
            idle.push(store.resume(id, &nothing_yet(Algorithm::Sha256)).await.expect("a session"));
            sessions.push(store.shared.live_session(id).expect("alive"));
        }
        // No disk at all: whoever writes waits for the file's end.
        let stalled: Vec<_> = sessions.iter().map(|session| lock(&session.ingest)).collect();
        let mut writers = tokio::task::JoinSet::new();
        for mut writer in idle {
            let bytes = bytes.clone();
            writers.spawn(async move {
                writer.write(bytes).await?;
                writer.commit(&digest).await
            });
        }
        let queued = || sessions.iter().map(|session| lock(&session.queue).length).collect::<Vec<_>>();
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        let lengths = queued();
        assert!(lengths.iter().all(|&length| length <= SESSION_QUEUE), "{lengths:?}");
        let total: usize = lengths.iter().sum();
        assert_eq!(total, super::super::STORE_QUEUE, "the room is used, and no more");
        drop(stalled);
        for size in writers.join_all().await {
            assert_eq!(size.expect("stored"), bytes.len() as u64);
        }
    }

    #[test]
    fn more_slices_than_one_call_takes_are_written_whole() {
        let file = tempfile::tempfile().expect("a temporary file");
        let bytes: Vec<u8> = (0..5000_u32).map(|place| place as u8).collect();
        let mut slices: Vec<IoSlice<'_>> = bytes.chunks(1).map(IoSlice::new).collect();
        write_all_at(&file, &mut slices, 10).expect("written");
        let mut read = vec![0; bytes.len()];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut read, 10).expect("all is there");
        assert!(read == bytes);
    }
}
