//! What all stages of one build share.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use builder_output::BlobFetcher;
use builder_plan::{ImageUse, StageId, Step};
use builder_runtime::{RuntimeError, Tier, probe_blocking};
use builder_store::Store;
use builder_store::checksum::StatCache;
use registry_types::{ImageReference, Platform};
use tokio::sync::{OnceCell, Semaphore};

use super::blocking::blocking;
use super::image::BaseImage;
use super::layer::LayerSlot;
use crate::cancel::Cancel;
use crate::context::BuildContext;
use crate::engine::LayerSender;
use crate::error::{EngineError, Result, StepProblem};
use crate::event::{Event, Events};
use crate::request::BuildRequest;

/// Images by name and platform.
pub(super) type Images = HashMap<(ImageReference, Platform), Arc<BaseImage>>;

/// Layers compressed at once. Each uses all threads it is given, so more would only take turns.
pub(super) const LAYERS_AT_ONCE: usize = 2;

/// Longest piece of an instruction that an error repeats, in characters.
const SHOWN_INSTRUCTION: usize = 120;

/// A build under way.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) request: BuildRequest,
    /// Name of the Dockerfile, for errors.
    pub(super) dockerfile: String,
    pub(super) context: BuildContext,
    pub(super) images: Images,
    pub(super) fetcher: BlobFetcher,
    pub(super) events: Events,
    /// The build's own; also cancelled when a part of it fails.
    pub(super) cancel: Cancel,
    /// The stages that the image consists of: only their steps become layers.
    pub(super) image_stages: BTreeSet<StageId>,
    pub(super) layers: Mutex<Vec<LayerSlot>>,
    pub(super) layers_at_once: Semaphore,
    pub(super) layer_sender: Option<LayerSender>,
    pub(super) file_digests: StatCache,
    pub(super) tier: OnceCell<Tier>,
}

impl Session {
    pub(super) fn store(&self) -> &Store {
        self.fetcher.store()
    }

    pub(super) fn image(&self, wanted: &ImageUse) -> Result<&Arc<BaseImage>> {
        let key = (wanted.reference.clone(), wanted.platform.clone());
        self.images.get(&key).ok_or_else(|| EngineError::Interrupted {
            what: "the search for base images",
            reason: format!("{} was not looked for", wanted.reference),
        })
    }

    /// How steps are isolated, found out when the first one runs.
    pub(super) async fn tier(self: &Arc<Self>) -> Result<Tier> {
        let probe = || async {
            let session = Arc::clone(self);
            let probe = blocking("probing isolation", move || {
                let failed = |error: RuntimeError| EngineError::Runtime(Box::new(error));
                probe_blocking(session.store().root()).map_err(failed)
            });
            let probe = probe.await?;
            self.events.tell(Event::Isolation { reason: probe.reason });
            probe.notes.into_iter().for_each(|note| self.events.warn(note));
            Ok(probe.tier)
        };
        self.tier.get_or_try_init(probe).await.copied()
    }

    /// The error of a step that failed.
    pub(super) fn step_error(&self, step: &Step, problem: StepProblem) -> EngineError {
        let cancelled = matches!(&problem, StepProblem::Runtime(RuntimeError::Cancelled));
        if cancelled || self.cancel.is_cancelled() {
            return EngineError::Cancelled;
        }
        let first_line = step.text.lines().next().unwrap_or_default();
        let mut instruction: String = first_line.chars().take(SHOWN_INSTRUCTION).collect();
        if instruction.len() < step.text.len() {
            instruction.push_str("...");
        }
        EngineError::Step {
            dockerfile: self.dockerfile.clone(),
            line: step.line,
            instruction,
            problem: Box::new(problem),
        }
    }

    /// Where digests of unchanged files are remembered.
    pub(super) fn file_digests_path(store: &Store) -> PathBuf {
        store.root().join("file-digests")
    }

    /// Remembers digests of files for the next build. That it fails costs only time.
    pub(super) async fn save_file_digests(self: &Arc<Self>) {
        let session = Arc::clone(self);
        let saved = blocking("remembering digests of files", move || {
            let path = Self::file_digests_path(session.store());
            Ok::<_, EngineError>(session.file_digests.save(&path)?)
        });
        if let Err(error) = saved.await {
            self.events.warn(format!("digests of files are not remembered: {error}"));
        }
    }
}
