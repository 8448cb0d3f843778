//! Blobs as files of one local file system.
//!
//! Guarantees: a blob's file appears under its name whole and synced, by one rename, and never changes again; a
//! commit answers after the directories are synced too. A session's file holds at least what its last
//! checkpoint covers. Bytes that wait to be written are bounded per session and for the whole store. Blobs never
//! take the last of the disk's room, which the metadata needs.

mod commit;
mod failure;
mod free_space;
mod layout;
mod pool;
mod session;
#[cfg(test)]
mod tests;
mod write_job;
mod writer;

pub use writer::LocalWriter;

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use registry_types::{BlobLocation, Digest, HashState, UploadId, UploadProgress};
use tokio::sync::Semaphore;

use crate::{BlobError, BlobHandle, BlobSource, BlobStore};
use layout::Layout;
use pool::WriterPool;
use session::Session;

type Answer<T> = Result<T, BlobError>;

/// Most bytes that wait to be written, over all sessions: what a hundred uploads at once may cost beside their
/// sockets' buffers.
const STORE_QUEUE: usize = 8 << 20;

/// The blobs below one folder. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalBlobs {
    shared: Arc<Shared>,
}

/// What the store and its sessions share.
#[derive(Debug)]
struct Shared {
    layout: Layout,
    /// The blobs' folder, open: where cached look-ups start.
    blobs: File,
    pool: Arc<WriterPool>,
    /// Room in all queues, in bytes.
    room: Arc<Semaphore>,
    /// Shards whose own entry was synced since the store was opened, 256 for each algorithm at most.
    durable_shards: Mutex<HashSet<PathBuf>>,
    /// Sessions that something may still work on.
    sessions: Mutex<HashMap<UploadId, Weak<Session>>>,
}

impl LocalBlobs {
    /// The store below `root`, whose folders are made if they are missing. The caller sees to it that no other
    /// process writes there (`registry_io::DirectoryLock`).
    pub async fn in_directory(root: PathBuf) -> Answer<Self> {
        let what = root.clone();
        run_blocking("open", &what, move || {
            let failed = |error| io_error("prepare", &root, error);
            let layout = Layout::prepare_blocking(&root).map_err(failed)?;
            let blobs = File::open(layout.blobs()).map_err(failed)?;
            let room = Arc::new(Semaphore::new(STORE_QUEUE));
            let pool = Arc::new(WriterPool::new());
            let (durable_shards, sessions) = (Mutex::default(), Mutex::default());
            Ok(Self { shared: Arc::new(Shared { layout, blobs, pool, room, durable_shards, sessions }) })
        })
        .await
    }
}

impl Shared {
    /// The session that may be at work under `id`.
    fn live_session(&self, id: UploadId) -> Option<Arc<Session>> {
        lock(&self.sessions).get(&id)?.upgrade()
    }

    /// Makes a session the only one of its id.
    fn resume_blocking(self: &Arc<Self>, id: UploadId, progress: &HashState) -> Answer<Arc<Session>> {
        let session = Arc::new(Session::new(id, Arc::clone(self)));
        let before = lock(&self.sessions).insert(id, Arc::downgrade(&session));
        if let Some(before) = before.and_then(|before| before.upgrade()) {
            // A request whose client is gone may still be writing.
            before.close_blocking();
        }
        session.open_blocking(progress)?;
        Ok(session)
    }

    fn abort_blocking(&self, id: UploadId) -> Answer<()> {
        if let Some(session) = self.live_session(id) {
            session.close_blocking();
        }
        let path = self.layout.session(id);
        remove_file(&path)?;
        Ok(())
    }

    fn remove_blocking(&self, digest: &Digest) -> Answer<bool> {
        let directory = self.layout.blob_directory(digest);
        if !remove_file(&directory.join("data"))? {
            return Ok(false);
        }
        // A commit of the same content may have filled the folder again, or removed it before.
        let changed = match fs::remove_dir(&directory) {
            Ok(()) => directory.parent(),
            Err(_) => Some(directory.as_path()),
        };
        if let Some(changed) = changed {
            registry_io::sync_directory(changed).map_err(|error| io_error("sync", changed, error))?;
        }
        Ok(true)
    }

    fn stale_sessions_blocking(&self, age: Duration) -> Answer<Vec<UploadId>> {
        let uploads = self.layout.uploads();
        let failed = |error| io_error("list", uploads, error);
        let now = SystemTime::now();
        let mut stale = Vec::new();
        for entry in fs::read_dir(uploads).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let touched = match entry.metadata().and_then(|metadata| metadata.modified()) {
                // Committed or aborted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                touched => touched.map_err(failed)?,
            };
            // A time in the future counts as now.
            let idle = now.duration_since(touched).unwrap_or_default();
            if idle >= age && self.live_session(id).is_none() {
                stale.push(id);
            }
        }
        Ok(stale)
    }

    /// Forgets the session of this id if none is alive.
    fn forget_ended(&self, id: UploadId) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(&id).is_some_and(|session| session.strong_count() == 0) {
            sessions.remove(&id);
        }
    }
}

impl BlobStore for LocalBlobs {
    type Writer = LocalWriter;

    fn records_sessions(&self) -> bool {
        false
    }

    async fn ping(&self) -> Answer<()> {
        let uploads = self.shared.layout.uploads().to_owned();
        run_blocking("look for", self.shared.layout.uploads(), move || {
            fs::metadata(&uploads).map(|_| ()).map_err(|error| io_error("look for", &uploads, error))
        })
        .await
    }

    async fn resume(&self, id: UploadId, _: u64, progress: &UploadProgress) -> Answer<LocalWriter> {
        let (shared, progress) = (Arc::clone(&self.shared), progress.hash.clone());
        let length = progress.length;
        let path = self.shared.layout.session(id);
        let session = run_blocking("open", &path, move || shared.resume_blocking(id, &progress)).await?;
        Ok(LocalWriter::new(session, length))
    }

    async fn abort(&self, id: UploadId, _: Option<&UploadProgress>) -> Answer<()> {
        let shared = Arc::clone(&self.shared);
        let path = self.shared.layout.session(id);
        run_blocking("remove", &path, move || shared.abort_blocking(id)).await
    }

    /// A blob's bytes are no session's any more, and no other process goes on with one.
    async fn abandon(&self, id: UploadId, progress: Option<&UploadProgress>) -> Answer<()> {
        match progress {
            None => self.abort(id, None).await,
            Some(_) => Ok(()),
        }
    }

    async fn session_file(&self, id: UploadId) -> Answer<Option<Arc<File>>> {
        let path = self.shared.layout.session(id);
        let there = path.clone();
        run_blocking("open", &path, move || match File::open(&there) {
            Ok(file) => Ok(Some(Arc::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("open", &there, error)),
        })
        .await
    }

    /// Asks the kernel's caches first, on the spot: a few microseconds, where a trip to a blocking thread costs
    /// more than the rest of a small pull. Only a name that is not cached takes that trip.
    async fn open(&self, digest: &Digest, location: &BlobLocation, _: u64) -> Answer<Option<BlobHandle>> {
        if *location != BlobLocation::ByDigest {
            return Ok(None);
        }
        let data = Layout::blob_data(digest);
        let path = self.shared.layout.blobs().join(&data);
        let opened = match registry_io::open_cached(&self.shared.blobs, &data) {
            Ok(Some(file)) => Ok(file),
            Ok(None) => {
                let there = path.clone();
                run_blocking("open", &path, move || Ok(File::open(there))).await?
            }
            Err(error) => Err(error),
        };
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| io_error("open", &path, error))?,
        };
        // An open file's metadata is in memory.
        let size = file.metadata().map_err(|error| io_error("read the length of", &path, error))?.len();
        Ok(Some(BlobHandle { size, content: BlobSource::File(Arc::new(file)) }))
    }

    async fn remove(&self, digest: &Digest, location: &BlobLocation) -> Answer<bool> {
        if *location != BlobLocation::ByDigest {
            return Ok(false);
        }
        let (shared, digest) = (Arc::clone(&self.shared), *digest);
        let path = self.shared.layout.blob_directory(&digest);
        run_blocking("remove", &path, move || shared.remove_blocking(&digest)).await
    }

    async fn discard(&self, _: Vec<BlobLocation>) -> Answer<()> {
        Ok(())
    }

    async fn stale_sessions(&self, age: Duration) -> Answer<Vec<UploadId>> {
        let shared = Arc::clone(&self.shared);
        run_blocking("list", self.shared.layout.uploads(), move || shared.stale_sessions_blocking(age)).await
    }
}

/// Locks a mutex whose holders keep their data whole at every step, so that a panic of one harms no other.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a job on the blocking pool at once; the future gives its answer.
fn run_blocking<T, J>(
    action: &'static str,
    what: &Path,
    job: J,
) -> impl Future<Output = Answer<T>> + Send + use<T, J>
where
    T: Send + 'static,
    J: FnOnce() -> Answer<T> + Send + 'static,
{
    let what = what.to_owned();
    let job = tokio::task::spawn_blocking(job);
    async move { job.await.unwrap_or_else(|error| Err(io_error(action, &what, io::Error::other(error)))) }
}

fn io_error(action: &'static str, what: &Path, source: io::Error) -> BlobError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full,
        _ => BlobError::Io { action, what: what.display().to_string(), source },
    }
}

/// Removes a file; false when there was none.
fn remove_file(path: &Path) -> Answer<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("remove", path, error)),
    }
}
