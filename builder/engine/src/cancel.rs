//! Telling a build to end, from any thread. A cancelled build returns when nothing of it runs any more.

use builder_runtime::CancelToken;
use tokio_util::sync::CancellationToken;

use crate::error::{EngineError, Result};

/// Cancels a build; clones share one state, which stays.
#[derive(Debug, Clone)]
pub struct Cancel {
    waiting: CancellationToken,
    steps: CancelToken,
}

impl Cancel {
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> Result<Self> {
        let steps = CancelToken::new().map_err(|source| EngineError::Runtime(Box::new(source)))?;
        Ok(Self { waiting: CancellationToken::new(), steps })
    }

    /// Ends the build: running steps are killed, transfers stop.
    pub fn cancel(&self) {
        self.steps.cancel();
        self.waiting.cancel();
    }

    pub fn is_cancelled(&self) -> bool {
        self.waiting.is_cancelled()
    }

    /// Returns once [`Cancel::cancel`] was called.
    pub async fn cancelled(&self) {
        self.waiting.cancelled().await;
    }

    /// What steps are given to.
    pub(crate) fn steps(&self) -> &CancelToken {
        &self.steps
    }

    /// Awaits something that may be dropped half-way, such as a transfer.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(EngineError::Cancelled),
            result = work => result,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }
}

/// Cancels when dropped, so that a build whose future is dropped leaves no step running.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(pub(crate) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
