//! Runs a build step in namespaces of its own: no daemon, no container runtime, no privilege.
//!
//! A program that builds calls [`maybe_run_init`] and then [`enter_builder_namespace`] first thing in `main`, asks
//! [`probe_blocking`] once for the [`Tier`] that works, and runs each [`StepSpec`] with [`run()`] or [`run_blocking`].
//! When either returns, no process, no mount and no trace of the step is left but its changes in the upper directory.

mod advice;
mod async_run;
mod cancel;
mod error;
mod init;
mod merged;
mod mounts;
mod namespace;
mod output;
mod overlay;
mod run;
mod seccomp;
mod spec;
mod sys;
mod tier;
mod user;
mod wire;

pub use async_run::run;
pub use cancel::CancelToken;
pub use error::RuntimeError;
pub use init::maybe_run_init;
pub use merged::MergedView;
pub use namespace::{BuilderNamespace, IdMap, IdRange, Privilege, enter_builder_namespace};
pub use output::{MAX_LINE, OutputLine, OutputStream};
pub use run::{StepStatus, run_blocking};
pub use spec::{DEFAULT_HOSTNAME, MAX_LOWER_LAYERS, Network, RootFs, StepFile, StepSpec};
pub use tier::{Probe, Tier, probe_blocking};
pub use user::{Owner, resolve_owner};
pub use wire::SetupStage;
