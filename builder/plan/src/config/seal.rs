//! Completing a config when the layers are known: their digests, and the times of the history.

use registry_types::Digest;

use super::{History, ImageConfig};

/// A layer that belongs to the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// Digest of the uncompressed bytes.
    pub diff_id: Digest,
    /// When it was made, as an RFC 3339 text; `None` for layers of the base image, whose history says it.
    pub created: Option<String>,
}

/// Layers and history do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the history tells of {expected} layers but there are {given}")]
pub struct SealProblem {
    pub expected: usize,
    pub given: usize,
}

/// The comment on history that was made up for layers of a base image that tells nothing of them.
const UNTOLD: &str = "layer of a base image without history";

impl ImageConfig {
    /// Sets layers, history times and `created` from all layers, the base's lowest. An entry without a layer takes
    /// the time of the first new layer, or of the layer before it.
    pub fn seal(&mut self, layers: &[LayerRecord]) -> Result<(), SealProblem> {
        let expected = self.history.iter().filter(|entry| !entry.empty_layer).count();
        if expected != layers.len() {
            return Err(SealProblem { expected, given: layers.len() });
        }
        let with_layer = self.history.iter_mut().filter(|entry| !entry.empty_layer);
        for (entry, layer) in with_layer.zip(layers) {
            if entry.created.is_none() {
                entry.created.clone_from(&layer.created);
            }
        }
        self.fill_times();
        self.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        let last = self.history.iter().rev().find_map(|entry| entry.created.clone());
        self.created = self.created.take().or(last);
        Ok(())
    }

    fn fill_times(&mut self) {
        let first_untimed = self.history.iter().position(|entry| entry.created.is_none());
        let Some(first_untimed) = first_untimed else {
            return;
        };
        let (before, after) = self.history.split_at(first_untimed);
        let next = after.iter().find_map(|entry| entry.created.clone());
        let mut time = next.or_else(|| before.iter().rev().find_map(|entry| entry.created.clone()));
        for entry in self.history.iter_mut().skip(first_untimed) {
            match &entry.created {
                Some(created) => time = Some(created.clone()),
                None => entry.created.clone_from(&time),
            }
        }
    }

    /// Makes the history of a base image tell of exactly the layers it has.
    pub(crate) fn complete_history(&mut self) {
        let mut untold = self.rootfs.diff_ids.len();
        for entry in &mut self.history {
            if !entry.empty_layer && untold == 0 {
                entry.empty_layer = true;
            } else if !entry.empty_layer {
                untold -= 1;
            }
        }
        let made_up =
            History { comment: UNTOLD.to_owned(), created: self.created.clone(), ..History::default() };
        self.history.extend(std::iter::repeat_n(made_up, untold));
    }
}
