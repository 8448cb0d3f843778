//! Writes the image when all its layers are known: config and manifest, kept in the store.

use std::sync::Arc;

use builder_output::{BuiltImage, ImageDefinition};
use builder_plan::{LayerRecord, Plan};
use time::format_description::well_known::Rfc3339;

use super::blocking::blocking;
use super::layer::MadeLayer;
use super::session::Session;
use crate::error::{EngineError, Result};

pub(super) async fn finish(
    session: &Arc<Session>,
    plan: &Plan,
    layers: Vec<MadeLayer>,
) -> Result<BuiltImage> {
    let damaged = |reason: String| EngineError::Interrupted { what: "writing the image config", reason };
    let target = plan.target().ok_or_else(|| damaged("the plan has no stage".to_owned()))?;
    let mut config = target.config.clone();
    let now = session.request.reproducibility.now().format(&Rfc3339).ok();
    if session.request.reproducibility.epoch().is_some() {
        // A base image's entries have their times; what is new has none.
        for entry in config.history.iter_mut().filter(|entry| entry.created.is_none()) {
            entry.created.clone_from(&now);
        }
    }
    let records: Vec<LayerRecord> = layers
        .iter()
        .map(|made| LayerRecord { diff_id: made.layer.diff_id, created: made.created.clone() })
        .collect();
    config.seal(&records).map_err(|problem| damaged(problem.to_string()))?;
    if config.created.is_none() {
        config.created = now;
    }
    let definition = ImageDefinition {
        platform: config.platform(),
        config: config.to_json(),
        layers: layers.into_iter().map(|made| made.layer).collect(),
        annotations: session.request.annotations.clone(),
    };
    let image = definition.write()?;
    let (session, kept) = (Arc::clone(session), image.clone());
    let keep = blocking("writing the image", move || {
        session.store().content.put(&kept.config)?;
        session.store().content.put(&kept.manifest)?;
        Ok::<_, EngineError>(())
    });
    keep.await?;
    Ok(image)
}
