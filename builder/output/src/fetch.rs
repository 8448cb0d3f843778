//! Brings blobs of base images into the local store, each once however many steps and outputs want it at a time.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use builder_store::Store;
use registry_client::Client;
use registry_types::{Descriptor, Digest};
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::spawn_blocking;

use crate::error::{OutputError, Result};
use crate::event::{OutputEvent, OutputEvents};
use crate::image::BlobOrigin;

/// Fetches blobs into a store; clones share what is under way.
#[derive(Clone)]
pub struct BlobFetcher {
    store: Arc<Store>,
    client: Client,
    events: OutputEvents,
    /// One entry per blob that was asked for in this build: some hundreds at most.
    under_way: Arc<Mutex<HashMap<Digest, Arc<AsyncMutex<()>>>>>,
}

impl BlobFetcher {
    pub fn new(store: Arc<Store>, client: Client, events: OutputEvents) -> Self {
        Self { store, client, events, under_way: Arc::default() }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn events(&self) -> &OutputEvents {
        &self.events
    }

    /// Makes sure that a blob is in the store, whole and verified.
    ///
    /// # Errors
    /// [`OutputError::LayerLost`] if it is not there and has no origin, [`OutputError::Fetch`] if its registry fails.
    pub async fn fetch(&self, descriptor: &Descriptor, origin: Option<&BlobOrigin>) -> Result<()> {
        let digest = descriptor.digest;
        let turn = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(under_way.entry(digest).or_default())
        };
        let _turn = turn.lock().await;
        if self.store.content.contains(&digest) {
            return Ok(());
        }
        let origin = origin.ok_or(OutputError::LayerLost { digest })?;
        self.events.tell(OutputEvent::Fetching { digest, size: descriptor.size });
        let store = Arc::clone(&self.store);
        let ingest = spawn_blocking(move || store.content.ingest());
        let ingest = ingest.await.map_err(OutputError::interrupted("writing a blob"))??;
        let file = ingest.file().try_clone();
        let file = Arc::new(
            file.map_err(|error| OutputError::file("writing to", self.store.content.path(&digest), error))?,
        );
        let repository = self.client.repository_at(origin.registry.clone(), origin.repository.clone());
        repository.blob_into(descriptor, &file).await.map_err(|source| OutputError::Fetch {
            digest,
            origin: origin.to_string(),
            source: Box::new(source),
        })?;
        let committed = spawn_blocking(move || ingest.commit_hashed(&digest));
        Ok(committed.await.map_err(OutputError::interrupted("writing a blob"))??)
    }
}

impl fmt::Debug for BlobFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobFetcher").field("store", &self.store).finish_non_exhaustive()
    }
}
