//! Whether a push would be taken, asked at most once a second however many probes come: the question costs a
//! synced write.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use registry_core::CoreError;
use tokio::{sync::Semaphore, time::Instant};

use crate::error::HttpError;

/// How long an answer holds.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Readiness {
    /// One asks; the others wait for its answer.
    turn: Semaphore,
    last: Mutex<Option<(Instant, Result<(), HttpError>)>>,
}

impl Readiness {
    pub(crate) fn new() -> Self {
        Self { turn: Semaphore::new(1), last: Mutex::new(None) }
    }

    /// The last answer while it holds, else that of `ask`.
    pub(crate) async fn of<F>(&self, ask: impl FnOnce() -> F) -> Result<(), HttpError>
    where
        F: Future<Output = Result<(), CoreError>>,
    {
        let _turn = self.turn.acquire().await;
        if let Some(answer) = self.fresh() {
            return answer;
        }
        let answer = ask().await.map_err(HttpError::from);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), answer.clone()));
        answer
    }

    fn fresh(&self) -> Option<Result<(), HttpError>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, answer) = last.as_ref()?;
        (at.elapsed() < FRESH).then(|| answer.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_probes_ask_once_a_second() {
        let (readiness, asked) = (Readiness::new(), Cell::new(0));
        let probe = |good: bool| {
            let asked = &asked;
            readiness.of(move || async move {
                asked.set(asked.get() + 1);
                tokio::time::sleep(Duration::from_millis(100)).await;
                if good { Ok(()) } else { Err(CoreError::Full) }
            })
        };
        let (first, second) = tokio::join!(probe(true), probe(true));
        assert!(first.is_ok() && second.is_ok() && asked.get() == 1);
        tokio::time::sleep(FRESH).await;
        assert!(probe(false).await.is_err() && probe(true).await.is_err() && asked.get() == 2);
        tokio::time::sleep(FRESH).await;
        assert!(probe(true).await.is_ok());
    }
}
