//! Whether the store works at all.

use std::future::Future;

use super::Answer;

pub trait HealthMetadata: Clone + Send + Sync + 'static {
    /// Answers when the store can take a write: for readiness checks.
    fn ping(&self) -> impl Future<Output = Answer<()>> + Send;
}
