//! From a syntax tree to what a builder executes: the stages the target needs, their order, each step with every
//! variable expanded, the image config that results, and the keys steps are cached under.
//!
//! No IO: configs of base images are asked for by [`Outcome::Wants`] and given with the next call of [`plan`].

mod config;
mod dispatch;
mod error;
mod graph;
mod key;
mod platform;
mod request;
mod step;
mod text;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, LayerRecord, RootFs, SealProblem};
pub use error::{Error, Problem};
pub use graph::{Base, CopyFrom, ImageUse, StageId};
pub use key::{StepKey, base_key, copy_key, run_key, workdir_key};
pub use platform::{normalized, parse_platform};
pub use request::{BaseImages, Outcome, Plan, PlannedStage, Request, UnusedArgument, plan};
pub use step::{
    Chmod, CopyFile, CopyPath, CopyStep, Ownership, Principal, Proxies, RunFile, RunStep, Step, StepKind,
    WorkdirStep,
};

#[cfg(test)]
mod plan_tests;
