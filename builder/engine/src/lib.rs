//! Engines that turn a Dockerfile into an image, behind the trait [`Engine`].
//!
//! [`NativeEngine`] executes the plan itself: stages at once, each step over snapshots, layers compressed while later
//! steps run, base images fetched only when a step needs their files. [`build`] joins an engine with the outputs. A
//! program that builds natively begins with `builder_runtime::maybe_run_init` and `enter_builder_namespace`.

mod cancel;
mod context;
mod engine;
mod error;
mod event;
mod native;
mod request;
mod storage;

pub use builder_output::{
    BlobFetcher, BuiltImage, Destination, ImageLayer, OutputError, OutputEvent, OutputResult, Outputs,
    PushedTag,
};
pub use cancel::Cancel;
pub use engine::{Engine, Finished, LayerSender, Readiness, build};
pub use error::{EngineError, ImageProblem, Result, StepProblem};
pub use event::{Event, Events, LogStream, StepId, StepOutcome};
pub use native::NativeEngine;
pub use request::{BuildRequest, DockerfileSource, Reproducibility};
pub use storage::default_storage;
