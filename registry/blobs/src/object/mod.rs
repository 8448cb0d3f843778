//! Blobs in an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.
//!
//! Guarantees: an object becomes a blob's bytes only after its digest was compared, under the key it has from its
//! first byte on; what was handed out as progress is stored, and any replica goes on from that alone; upload bytes
//! in memory are bounded for the whole store and for each upload; every request is bounded in time and number, and
//! a store that is away is told apart from bytes that are missing.

mod commit;
mod failure;
mod layout;
#[cfg(any(test, feature = "suite"))]
mod memory;
mod numbered;
mod options;
mod part_plan;
mod read;
mod remote;
mod room;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod worker;
mod writer;

#[cfg(any(test, feature = "suite"))]
pub use memory::MemoryStore;
pub use options::{ObjectCredentials, ObjectOptions, UPLOAD_MEMORY};
pub use writer::ObjectWriter;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use object_store::{PutPayload, PutPayloadMut};
use registry_types::{BlobLocation, Digest, DigestHasher, ObjectKey, UploadId, UploadProgress};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use crate::{BlobError, BlobHandle, BlobSource, BlobStore};
use part_plan::PartPlan;
use read::{RemoteObject, read_each};
use remote::{Remote, RemoteError};
use room::Room;
use session::{Session, lock};
use state::{Multipart, Stored, Tail};
use worker::Worker;

type Answer<T> = Result<T, BlobError>;

/// Of the memory for uploads one part takes no more than this share: two on their way and one that fills up leave
/// something to others.
const LARGEST_SHARE: usize = 4;

/// Uploads that read their tails back at once, each at most a first part long: beside the room for uploads, so
/// that an upload that got its room can always use it.
const ASSEMBLIES: usize = 4;

/// The blobs in one bucket, or in a folder of it. Clones share everything.
#[derive(Debug, Clone)]
pub struct ObjectBlobs {
    shared: Arc<Shared>,
}

/// What the store and its sessions share.
#[derive(Debug)]
struct Shared {
    remote: Remote,
    plan: PartPlan,
    room: Room,
    assemblies: Semaphore,
    /// Sessions whose worker may be alive.
    sessions: Mutex<HashMap<UploadId, Arc<Session>>>,
}

impl ObjectBlobs {
    /// Connects to the store that `options` name, and asks it whether it is there.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] when it does not answer, [`BlobError::Io`] when it never will.
    pub async fn connect(options: &ObjectOptions) -> Answer<Self> {
        let blobs =
            Self::with(options.remote()?, PartPlan::within(options.memory / LARGEST_SHARE), options.memory);
        blobs.ping().await?;
        Ok(blobs)
    }

    /// A store in memory, with parts of 64 KiB and 128 KiB so that small uploads have many.
    #[cfg(any(test, feature = "suite"))]
    pub fn in_memory(store: &Arc<MemoryStore>) -> Self {
        let numbered = Arc::clone(store) as Arc<dyn numbered::CompleteNumbered>;
        let signer = Arc::clone(store) as Arc<dyn object_store::signer::Signer>;
        let prefix = object_store::path::Path::default();
        let remote = Remote::new(Arc::clone(store), Some(numbered), Some(signer), prefix);
        Self::with(remote, PartPlan::short(64 << 10, 128 << 10, 64), 16 << 20)
    }

    fn with(remote: Remote, plan: PartPlan, memory: usize) -> Self {
        let assemblies = Semaphore::new(ASSEMBLIES);
        let room = Room::new(memory);
        Self { shared: Arc::new(Shared { remote, plan, room, assemblies, sessions: Mutex::default() }) }
    }

    /// Upload bytes that are in memory now and not stored yet, and most of them at once so far.
    pub fn bytes_in_flight(&self) -> (usize, usize) {
        (self.shared.room.held(), self.shared.room.peak())
    }
}

impl Shared {
    /// The tails' bytes, if there are any, and then those of `rest`.
    async fn assemble(
        &self,
        tails: &[Tail],
        rest: PutPayloadMut,
    ) -> Answer<(PutPayload, Option<SemaphorePermit<'_>>)> {
        if tails.is_empty() {
            return Ok((rest.freeze(), None));
        }
        let permit = self.assemblies.acquire().await.expect("nobody closes the semaphore");
        let mut whole = PutPayloadMut::new();
        for tail in tails {
            read_each(&self.remote, &tail.key, tail.length, |bytes| whole.push(bytes)).await?;
        }
        rest.freeze().into_iter().for_each(|bytes| whole.push(bytes));
        Ok((whole.freeze(), Some(permit)))
    }

    /// Stores tails and what follows them as one object.
    async fn store(&self, key: &ObjectKey, tails: &[Tail], rest: PutPayloadMut) -> Answer<()> {
        let (payload, _room) = self.assemble(tails, rest).await?;
        self.remote.put(key, &payload).await.map_err(|error| error.told("store", key))
    }

    /// Removes everything that a session stored.
    async fn remove_session(&self, id: UploadId, multipart: Option<&Multipart>) -> Answer<()> {
        if let Some(multipart) = multipart {
            let aborted = self.remote.abort(multipart).await;
            aborted.map_err(|error| error.told("abort", &multipart.key))?;
        }
        let folder = layout::folder(id);
        self.remote.delete_folder(&folder).await.map_err(|error| error.told("empty", &folder))
    }

    /// Closes a session, and aborts the multipart upload that it began unless that is the `recorded` one: nobody else
    /// knows of it.
    async fn close(&self, session: &Session, recorded: Option<&Multipart>) -> Answer<()> {
        session.close().await;
        match session.multipart() {
            Some(multipart) if Some(&multipart) != recorded => {
                let aborted = self.remote.abort(&multipart).await;
                aborted.map_err(|error| error.told("abort", &multipart.key))
            }
            _ => Ok(()),
        }
    }

    /// Forgets a session that has ended, unless another has its place.
    fn forget(&self, session: &Arc<Session>) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(&session.id).is_some_and(|current| Arc::ptr_eq(current, session)) {
            sessions.remove(&session.id);
        }
    }
}

impl BlobStore for ObjectBlobs {
    type Writer = ObjectWriter;

    fn records_sessions(&self) -> bool {
        true
    }

    async fn ping(&self) -> Answer<()> {
        self.shared.remote.check().await.map_err(|error| error.told("reach", &"the object store"))
    }

    async fn resume(&self, id: UploadId, writer: u64, progress: &UploadProgress) -> Answer<ObjectWriter> {
        let lost = || BlobError::UploadLost { id };
        let stored = Stored::of(id, progress)?;
        let hasher = DigestHasher::restore(&progress.hash).ok_or_else(lost)?;
        let session = Arc::new(Session::new(id));
        let before = lock(&self.shared.sessions).insert(id, Arc::clone(&session));
        let (commands, receiver) = mpsc::unbounded_channel();
        let recorded = stored.multipart.clone();
        let mut worker = Worker::new(Arc::clone(&session), Arc::clone(&self.shared), hasher, stored, writer);
        if let Some(before) = before {
            self.shared.close(&before, recorded.as_ref()).await?;
        }
        worker.check_tails().await?;
        tokio::spawn(worker.run(receiver));
        Ok(ObjectWriter::new(session, Arc::clone(&self.shared), commands, progress.length()))
    }

    async fn abort(&self, id: UploadId, progress: Option<&UploadProgress>) -> Answer<()> {
        let recorded = progress.and_then(|progress| Stored::of(id, progress).ok()?.multipart);
        let live = lock(&self.shared.sessions).remove(&id);
        if let Some(live) = live {
            self.shared.close(&live, recorded.as_ref()).await?;
        }
        self.shared.remove_session(id, recorded.as_ref()).await
    }

    async fn abandon(&self, id: UploadId, progress: Option<&UploadProgress>) -> Answer<()> {
        let recorded = progress.and_then(|progress| Stored::of(id, progress).ok()?.multipart);
        let live = lock(&self.shared.sessions).remove(&id);
        match live {
            Some(live) => self.shared.close(&live, recorded.as_ref()).await,
            None => Ok(()),
        }
    }

    async fn open(&self, _: &Digest, location: &BlobLocation, size: u64) -> Answer<Option<BlobHandle>> {
        Ok(location.key().map(|key| {
            let object = RemoteObject::new(self.shared.remote.clone(), key.clone(), size);
            BlobHandle { size, content: BlobSource::Remote(Arc::new(object)) }
        }))
    }

    async fn remove(&self, _: &Digest, location: &BlobLocation) -> Answer<bool> {
        let Some(key) = location.key() else { return Ok(false) };
        let told = |error: RemoteError| error.told("remove", key);
        let there = self.shared.remote.delete(key).await.map_err(told)?;
        // What a crash of the upload left beside it.
        self.shared.remote.delete_folder(layout::folder_of(key)).await.map_err(told)?;
        Ok(there)
    }

    async fn discard(&self, leftovers: Vec<BlobLocation>) -> Answer<()> {
        for key in leftovers.iter().filter_map(BlobLocation::key) {
            self.shared.remote.delete(key).await.map_err(|error| error.told("remove", key))?;
        }
        Ok(())
    }

    async fn stale_sessions(&self, _: Duration) -> Answer<Vec<UploadId>> {
        Ok(Vec::new())
    }
}
