//! Layers of the image: what a step changed, compressed, hashed and handed on while later steps run.
//!
//! A layer is kept under its snapshot and how it was written, so a build that only wants other times or another
//! compression writes layers anew and executes nothing.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use builder_output::ImageLayer;
use builder_store::compression::Compression;
use builder_store::layer::DiffOptions;
use builder_store::store::{LayerOptions, SnapshotId, StepLayer, StepRecord, write_layer};
use registry_types::Digest;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinHandle;

use super::blocking::{Cancellable, blocking};
use super::session::Session;
use crate::error::{EngineError, Result};
use crate::event::{Event, StepId};

/// When a layer was made, in its record's descriptor (image specification, "Pre-Defined Annotation Keys").
const CREATED: &str = "org.opencontainers.image.created";
/// Set in its record's descriptor if a layer holds no file.
const EMPTY: &str = "dev.slipway.layer.empty";

/// Changes when the bytes of layers do, so that those of older programs are not mixed in.
const VERSION: &str = "layer 2";

/// Layers of the image to come, in their place.
#[derive(Debug)]
pub(super) enum LayerSlot {
    /// Those of the base image, and the task that hands them on.
    Base(Vec<ImageLayer>, JoinHandle<()>),
    Running(JoinHandle<Result<MadeLayer>>),
}

/// A layer and when it was made, as an RFC 3339 text; `None` for a base image's.
#[derive(Debug, Clone)]
pub(super) struct MadeLayer {
    pub(super) layer: ImageLayer,
    pub(super) created: Option<String>,
}

impl Session {
    /// Puts the layers of the base image below those to come.
    pub(super) fn add_base_layers(self: &Arc<Self>, layers: &[ImageLayer]) {
        let (session, to_hand_on) = (Arc::clone(self), layers.to_vec());
        let handed_on = tokio::spawn(async move {
            for layer in to_hand_on {
                session.hand_on(layer).await;
            }
        });
        let slot = LayerSlot::Base(layers.to_vec(), handed_on);
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// Begins the layer of a step. Steps of an image follow one another, so layers come in their order.
    pub(super) fn start_layer(self: &Arc<Self>, step: StepId, snapshot: SnapshotId) {
        let session = Arc::clone(self);
        let work = tokio::spawn(async move {
            let made = session.make_layer(step, snapshot).await;
            match &made {
                Ok(made) => session.hand_on(made.layer.clone()).await,
                // No image can come of the build any more.
                Err(_) => session.cancel.cancel(),
            }
            made
        });
        self.layers.lock().unwrap_or_else(PoisonError::into_inner).push(LayerSlot::Running(work));
    }

    async fn hand_on(&self, layer: ImageLayer) {
        if let Some(sender) = &self.layer_sender {
            // Nobody may care any more.
            let _ = sender.send(layer).await;
        }
    }

    /// Waits for all layers, also of a failed build.
    pub(super) async fn finish_layers(&self) -> Result<Vec<MadeLayer>> {
        let slots = std::mem::take(&mut *self.layers.lock().unwrap_or_else(PoisonError::into_inner));
        let mut layers = Vec::new();
        let mut failure: Option<EngineError> = None;
        for slot in slots {
            let made = match slot {
                LayerSlot::Base(layers, handed_on) => {
                    let made = layers.into_iter().map(|layer| MadeLayer { layer, created: None }).collect();
                    handed_on.await.map(|()| made).map_err(EngineError::interrupted("a layer"))
                }
                LayerSlot::Running(work) => {
                    work.await.map_err(EngineError::interrupted("a layer")).flatten().map(|made| vec![made])
                }
            };
            match made {
                Ok(made) => layers.extend(made),
                Err(error) if matches!(failure, None | Some(EngineError::Cancelled)) => failure = Some(error),
                Err(_) => {}
            }
        }
        failure.map_or(Ok(layers), Err)
    }

    async fn make_layer(self: &Arc<Self>, step: StepId, snapshot: SnapshotId) -> Result<MadeLayer> {
        let turn = self.layers_at_once.acquire().await;
        let _turn = turn.expect("the semaphore is never closed");
        self.cancel.check()?;
        let begun = Instant::now();
        let session = Arc::clone(self);
        let made = blocking("a layer", move || session.layer_blocking(&snapshot));
        let mut layer = made.await.map_err(|error| self.or_cancelled(error))?;
        // What the record tells of the layer stays here; the image has the bare descriptor.
        let mut notes = layer.descriptor.annotations.take().unwrap_or_default();
        let empty = notes.contains_key(EMPTY);
        let duration = begun.elapsed();
        self.events.tell(Event::Layer { step, layer: layer.descriptor.clone(), empty, duration });
        let StepLayer { descriptor, diff_id } = layer;
        Ok(MadeLayer {
            layer: ImageLayer { descriptor, diff_id, origin: None },
            created: notes.remove(CREATED),
        })
    }

    fn layer_blocking(&self, snapshot: &SnapshotId) -> Result<StepLayer> {
        let store = self.store();
        let epoch = self.request.reproducibility.epoch();
        let key = layer_key(snapshot, self.request.compression, epoch);
        if let Some(StepRecord { layer: Some(layer), .. }) = self.record_blocking(&key)? {
            return Ok(layer);
        }
        let directories = store.snapshots.layers(snapshot)?;
        let (files, lowers) = directories.split_first().ok_or_else(|| EngineError::Interrupted {
            what: "a layer",
            reason: format!("snapshot {snapshot} has no files"),
        })?;
        let options = LayerOptions {
            diff: DiffOptions { source_date_epoch: epoch },
            compression: self.request.compression,
            threads: self.request.threads.max(1),
        };
        let sink = Cancellable { inner: store.content.ingest()?, cancel: &self.cancel };
        let (sink, digests, summary) = write_layer(files, lowers, &options, sink)?;
        sink.inner.commit_hashed(&digests.digest)?;
        if summary.skipped_sockets > 0 {
            self.events.warn(format!("{} sockets were left out of a layer", summary.skipped_sockets));
        }
        let mut descriptor = digests.descriptor();
        let notes = descriptor.annotations.get_or_insert_default();
        if let Ok(created) = self.request.reproducibility.now().format(&Rfc3339) {
            notes.insert(CREATED.to_owned(), created);
        }
        if summary.is_empty() {
            notes.insert(EMPTY.to_owned(), "true".to_owned());
        }
        let layer = StepLayer { descriptor, diff_id: digests.diff_id };
        store.steps.insert(&key, &StepRecord { snapshot: *snapshot, layer: Some(layer.clone()) })?;
        Ok(layer)
    }
}

fn layer_key(snapshot: &SnapshotId, compression: Compression, epoch: Option<i64>) -> Digest {
    let compression = match compression {
        Compression::None => "none".to_owned(),
        Compression::Gzip { level } => format!("gzip {level}"),
        Compression::Zstd { level } => format!("zstd {level}"),
    };
    let epoch = epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
    Digest::sha256(format!("{VERSION} of {snapshot}, compression {compression}, epoch {epoch}").as_bytes())
}
