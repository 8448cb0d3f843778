//! Says whether a registry keeps to the OCI distribution specification: runs the official suite with every
//! option of it on, reads its results, and then asks what that suite does not ask. Works on any registry.
//!
//! Guarantees: a suite that did not run is a failure, never a pass; every skipped test carries the reason why it
//! may be skipped, and one without a known reason is a failure; passwords reach the suite by its environment and
//! are in no report.

mod checks;
mod client;
mod error;
mod official;
mod report;
mod run;
mod target;

pub use error::ConformanceError;
pub use official::{INSTALL, SpecVersion};
pub use report::{Case, Outcome, Report, Suite};
pub use run::{Options, run};
pub use target::{Credentials, Target};
