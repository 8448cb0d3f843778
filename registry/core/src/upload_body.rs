//! A request's body while it is received: no byte more than its `Content-Range` names comes out of it, and it
//! ends when its client is silent while another request wants the session.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::OptionFuture};
use registry_types::ContentRange;

use crate::{
    CoreError,
    sessions::{SILENCE, SessionLock},
};

/// Why a request's body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It did not arrive whole, for this reason.
    #[error("{0}")]
    Cut(String),
    /// No more of it is wanted.
    #[error(transparent)]
    Refused(Box<CoreError>),
}

/// A request's body.
pub type UploadBody = Pin<Box<dyn Stream<Item = Result<Bytes, BodyError>> + Send>>;

/// The chunks of a body.
pub(crate) struct Chunks<'a> {
    body: UploadBody,
    lock: Option<&'a SessionLock>,
    /// Bytes that the request says it sends.
    told: Option<u64>,
    received: u64,
}

impl<'a> Chunks<'a> {
    /// The body of a request that holds `lock`.
    pub(crate) fn of_session(body: UploadBody, range: Option<ContentRange>, lock: &'a SessionLock) -> Self {
        let told = range.map(|range| range.last - range.start + 1);
        Self { body, lock: Some(lock), told, received: 0 }
    }

    /// The body of a request without a session.
    pub(crate) fn alone(body: UploadBody) -> Self {
        Self { body, lock: None, told: None, received: 0 }
    }

    /// The next bytes; `None` at the end of a body that is as long as the request said. Nothing is lost when the
    /// future is dropped.
    ///
    /// # Errors
    /// [`CoreError::WrongLength`] before any byte too many, or at an end that comes too early;
    /// [`CoreError::BodyCut`].
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CoreError> {
        let wanted = OptionFuture::from(self.lock.map(SessionLock::wanted_after_silence));
        let chunk = tokio::select! {
            biased;
            chunk = self.body.next() => chunk,
            Some(()) = wanted => {
                let reason =
                    format!("no byte came for {} seconds, and another request went on", SILENCE.as_secs());
                return Err(CoreError::BodyCut { reason });
            }
        };
        let Some(chunk) = chunk else {
            // An empty chunk cannot be written as first-last; clients send `0-0` or nothing for it.
            let whole = self.received == 0 || self.told.is_none_or(|told| told == self.received);
            return if whole { Ok(None) } else { Err(CoreError::WrongLength) };
        };
        let chunk = chunk?;
        self.received = self.received.saturating_add(chunk.len() as u64);
        if self.told.is_some_and(|told| self.received > told) {
            return Err(CoreError::WrongLength);
        }
        Ok(Some(chunk))
    }
}
