//! The trait every engine has, and a build from request to outputs.

use builder_output::{BuiltImage, ImageLayer, OutputResult, Outputs};
use tokio::sync::mpsc;

use crate::cancel::Cancel;
use crate::error::Result;
use crate::event::Events;
use crate::request::BuildRequest;

/// Gets the layers of the image as they come to exist, the base image's first. A receiver that is dropped is no error.
pub type LayerSender = mpsc::Sender<ImageLayer>;

/// Layers on their way to the outputs, which take them without waiting.
const LAYERS_WAITING: usize = 16;

/// What an engine can do here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// One line: how it would build and why so.
    pub description: String,
    /// What will not work, and how to mend it.
    pub notes: Vec<String>,
}

/// Something that builds images.
pub trait Engine: Send + Sync {
    /// The name behind `--engine`.
    fn name(&self) -> &'static str;

    /// Whether it can build here, found out by trying.
    fn probe(&self) -> impl Future<Output = Result<Readiness>> + Send;

    /// Builds an image. When it returns, also early, nothing of the build runs any more.
    fn build(
        &self,
        request: BuildRequest,
        layers: Option<LayerSender>,
        events: &Events,
        cancel: &Cancel,
    ) -> impl Future<Output = Result<BuiltImage>> + Send;

    /// Makes what a good build leaves for later ones outlast a power cut. Takes its time, so it goes on while the
    /// outputs are written. That it fails is a warning: the image is no worse for it.
    fn settle(&self, events: &Events) -> impl Future<Output = ()> + Send {
        let _ = events;
        std::future::ready(())
    }
}

/// A build that reached all its outputs.
#[derive(Debug, Clone)]
pub struct Finished {
    pub image: BuiltImage,
    pub results: Vec<OutputResult>,
}

/// Builds an image and brings it to its outputs, which get each layer while later steps still run.
pub async fn build<E: Engine>(
    engine: &E,
    request: BuildRequest,
    outputs: Outputs,
    events: &Events,
    cancel: &Cancel,
) -> Result<Finished> {
    cancel.unless(async { Ok(outputs.check().await?) }).await?;
    let (sender, mut receiver) = mpsc::channel(LAYERS_WAITING);
    let forwarded = async {
        while let Some(layer) = receiver.recv().await {
            outputs.layer_ready(&layer);
        }
    };
    let (image, ()) = tokio::join!(engine.build(request, Some(sender), events, cancel), forwarded);
    let image = image?;
    let finished = async {
        let (results, ()) = tokio::join!(outputs.finish(&image), engine.settle(events));
        Ok(results?)
    };
    let results = cancel.unless(finished).await?;
    Ok(Finished { image, results })
}
