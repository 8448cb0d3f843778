//! Telling a running step to end, from any thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::error::RuntimeError;

/// Cancels every step it was given to; clones share one state. Once cancelled it stays so.
#[derive(Debug, Clone)]
pub struct CancelToken {
    event: Arc<OwnedFd>,
}

impl CancelToken {
    /// A token that is not cancelled.
    ///
    /// # Errors
    /// [`RuntimeError::System`] when the process has no file descriptor left.
    pub fn new() -> Result<Self, RuntimeError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| RuntimeError::system("creating a cancel token", error))?;
        Ok(Self { event: Arc::new(event) })
    }

    /// Ends the steps. Returns at once; the step's `run` returns when all its processes have ended.
    pub fn cancel(&self) {
        // Fails only when the counter is at its end, and then it is set.
        let _: io::Result<usize> = rustix::io::write(&self.event, &1_u64.to_ne_bytes()).map_err(Into::into);
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        let mut files = [PollFd::new(&self.event, PollFlags::IN)];
        poll(&mut files, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    pub(crate) fn as_event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_one_state_that_stays() {
        let token = CancelToken::new().unwrap();
        let other = token.clone();
        assert!(!other.is_cancelled());
        token.cancel();
        token.cancel();
        assert!(other.is_cancelled());
        assert!(other.is_cancelled(), "asking does not reset it");
    }
}
