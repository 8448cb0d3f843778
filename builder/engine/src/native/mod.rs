//! The native engine: no daemon, no privilege beyond what `builder_runtime` finds.
//!
//! A build goes through these hands: base images are resolved (`image`), the plan's stages run at once (`schedule`),
//! each step is looked up or executed (`stage`, `run`, `copy`, `workdir`), what it changed becomes a layer while later
//! steps run (`layer`), and config and manifest are written (`finish`).

mod blocking;
mod copy;
mod finish;
mod image;
mod layer;
mod prepare;
mod run;
mod schedule;
mod session;
mod stage;
mod unpack;
mod workdir;

use std::sync::Arc;

use builder_output::{BlobFetcher, BuiltImage};
use builder_runtime::probe_blocking;

use crate::cancel::{Cancel, CancelOnDrop};
use crate::engine::{Engine, LayerSender, Readiness};
use crate::error::{EngineError, Result};
use crate::event::Events;
use crate::request::BuildRequest;
use blocking::blocking;

/// Builds in this process, into the store of its fetcher.
#[derive(Debug, Clone)]
pub struct NativeEngine {
    fetcher: BlobFetcher,
}

impl NativeEngine {
    /// `fetcher` is the one that the outputs have, too, so that no layer is fetched twice.
    pub fn new(fetcher: BlobFetcher) -> Self {
        Self { fetcher }
    }
}

impl Engine for NativeEngine {
    fn name(&self) -> &'static str {
        "native"
    }

    async fn probe(&self) -> Result<Readiness> {
        let store = Arc::clone(self.fetcher.store());
        let probe = blocking("probing isolation", move || {
            probe_blocking(store.root()).map_err(|error| EngineError::Runtime(Box::new(error)))
        });
        let probe = probe.await?;
        Ok(Readiness { description: probe.reason, notes: probe.notes })
    }

    async fn build(
        &self,
        request: BuildRequest,
        layers: Option<LayerSender>,
        events: &Events,
        cancel: &Cancel,
    ) -> Result<BuiltImage> {
        cancel.check()?;
        let prepared = prepare::prepare(&self.fetcher, request, events, cancel).await?;
        // A token of the build's own: a stage that fails ends the others and leaves the caller's token alone.
        let own = Cancel::new()?;
        let _ended = CancelOnDrop(own.clone());
        let (session, plan) = prepared.into_session(self.fetcher.clone(), layers, events.clone(), own);
        let session = Arc::new(session);
        let ran = schedule::run_stages(&session, &plan, cancel).await;
        let layers = session.finish_layers().await;
        session.save_file_digests().await;
        match (ran, layers) {
            _ if cancel.is_cancelled() => Err(EngineError::Cancelled),
            // Layers fail because of a failed stage, or a stage was cancelled because of a failed layer.
            (Err(EngineError::Cancelled), Err(error)) | (Err(error), _) | (Ok(()), Err(error)) => Err(error),
            (Ok(()), Ok(layers)) => finish::finish(&session, &plan, layers).await,
        }
    }

    async fn settle(&self, events: &Events) {
        let store = Arc::clone(self.fetcher.store());
        let synced = blocking("writing out the store", move || Ok::<_, EngineError>(store.sync()?));
        if let Err(error) = synced.await {
            events.warn(format!("what this build made may be lost in a power cut: {error}"));
        }
    }
}
