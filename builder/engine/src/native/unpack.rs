//! Turns a base image into snapshots, when the first step needs its files: layers are fetched at once and unpacked in
//! order, each as soon as it is here.

use std::path::PathBuf;
use std::sync::Arc;

use builder_store::StoreError;
use builder_store::compression::ExpansionLimits;
use builder_store::layer::{AbsoluteNames, DevicePolicy, UnpackOptions};
use builder_store::store::{LayerToUnpack, SnapshotId};
use tokio_util::task::AbortOnDropHandle;

use super::blocking::{Cancellable, blocking};
use super::image::BaseImage;
use super::session::Session;
use crate::error::{EngineError, Result, StepProblem};
use crate::event::Event;

impl Session {
    /// Makes sure that an image's files are here.
    pub(super) async fn unpack(self: &Arc<Self>, image: &BaseImage) -> Result<()> {
        image.unpacked.get_or_try_init(|| self.unpack_once(image)).await.copied()
    }

    async fn unpack_once(self: &Arc<Self>, image: &BaseImage) -> Result<()> {
        let diff_ids = image.diff_ids();
        let chain: Vec<SnapshotId> =
            (1..=diff_ids.len()).filter_map(|count| SnapshotId::of_layers(diff_ids.get(..count)?)).collect();
        let (session, ids) = (Arc::clone(self), chain.clone());
        let missing_from = blocking("reading the store", move || {
            for (index, id) in ids.iter().enumerate().rev() {
                if session.store().snapshots.get(id)?.is_some() {
                    return Ok::<_, EngineError>(index + 1);
                }
            }
            Ok(0)
        });
        let missing_from = missing_from.await?;
        let missing = image.layers.iter().enumerate().skip(missing_from);
        let fetches: Vec<_> = missing
            .map(|(index, layer)| {
                let (fetcher, layer) = (self.fetcher.clone(), layer.clone());
                let fetch = async move { fetcher.fetch(&layer.descriptor, layer.origin.as_ref()).await };
                (index, AbortOnDropHandle::new(tokio::spawn(fetch)))
            })
            .collect();
        for (index, fetch) in fetches {
            let fetched = async { Ok(fetch.await.map_err(EngineError::interrupted("a pull"))??) };
            self.cancel.unless(fetched).await?;
            let (Some(layer), Some(id)) = (image.layers.get(index), chain.get(index)) else { continue };
            let size = layer.descriptor.size;
            self.events.tell(Event::Unpacking { digest: layer.descriptor.digest, size });
            let parent = index.checked_sub(1).and_then(|below| chain.get(below)).copied();
            let (session, layer, id) = (Arc::clone(self), layer.clone(), *id);
            let unpacked = blocking("unpacking a layer", move || {
                let to_unpack = LayerToUnpack { parent: parent.as_ref(), id, diff_id: &layer.diff_id };
                let open = || {
                    let inner = session.store().content.open_blob(&layer.descriptor.digest)?;
                    Ok(Cancellable { inner, cancel: &session.cancel })
                };
                let unpacked =
                    session.store().snapshots.unpack(to_unpack, open, &options(), ExpansionLimits::default());
                Ok::<_, EngineError>(unpacked.map(|(_, report)| report)?)
            });
            let report = unpacked.await.map_err(|error| self.or_cancelled(error))?;
            if let Some(device) = report.skipped_devices.first() {
                self.events.warn(format!(
                    "{} device files of {} (first {device}) cannot be made without root and are left out",
                    report.skipped_devices.len(),
                    image.reference
                ));
            }
        }
        Ok(())
    }

    /// Directories of a snapshot, uppermost first. Blocks.
    pub(super) fn layers_blocking(&self, snapshot: Option<&SnapshotId>) -> Result<Vec<PathBuf>, StoreError> {
        snapshot.map_or_else(|| Ok(Vec::new()), |id| self.store().snapshots.layers(id))
    }

    /// What a failure is once the build was cancelled.
    pub(super) fn or_cancelled(&self, error: EngineError) -> EngineError {
        if self.cancel.is_cancelled() { EngineError::Cancelled } else { error }
    }

    pub(super) fn or_cancelled_step(&self, problem: StepProblem) -> StepProblem {
        if self.cancel.is_cancelled() { EngineError::Cancelled.into() } else { problem }
    }
}

/// Layers of images in the wild: some name their files from the root, and a user namespace cannot make devices.
fn options() -> UnpackOptions {
    UnpackOptions {
        absolute_names: AbsoluteNames::FromRoot,
        devices: DevicePolicy::SkipForbidden,
        ..UnpackOptions::default()
    }
}
