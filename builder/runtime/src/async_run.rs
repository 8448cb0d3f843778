//! Running a step from asynchronous code.

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::cancel::CancelToken;
use crate::error::RuntimeError;
use crate::output::OutputLine;
use crate::run::{StepStatus, run_blocking};
use crate::spec::StepSpec;
use crate::tier::Tier;

/// Runs a step on a blocking thread, sending its output to `lines`.
///
/// The channel's capacity is the bound on lines in flight: a slow receiver slows the step. A receiver that is dropped
/// discards the rest. Dropping the future ends the step; only awaiting it tells when it has ended.
///
/// # Errors
/// As [`run_blocking`].
pub async fn run(
    spec: StepSpec,
    tier: Tier,
    cancel: CancelToken,
    lines: mpsc::Sender<OutputLine>,
) -> Result<StepStatus, RuntimeError> {
    let guard = CancelOnDrop(Some(cancel.clone()));
    let task = spawn_blocking(move || {
        let mut forward = |line| drop(lines.blocking_send(line));
        run_blocking(spec, tier, Some(&cancel), &mut forward)
    });
    let result = task.await;
    guard.disarm();
    result.unwrap_or_else(|error| Err(RuntimeError::SupervisorLost { detail: error.to_string() }))
}

/// Cancels unless the step has ended.
struct CancelOnDrop(Option<CancelToken>);

impl CancelOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(cancel) = &self.0 {
            cancel.cancel();
        }
    }
}
