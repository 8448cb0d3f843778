//! Work that blocks, kept off the async workers. It is always awaited to its end: what is cancelled ends by itself.

use std::io::{self, Read, Write};

use tokio::task::spawn_blocking;

use crate::cancel::Cancel;
use crate::error::{EngineError, Result};

/// Runs `work` on a blocking thread. `what` names it should it panic.
pub(super) async fn blocking<T, E>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<EngineError> + Send + 'static,
{
    spawn_blocking(work).await.unwrap_or_else(|error| Err(EngineError::interrupted(what)(error).into()))
}

/// A reader or writer that fails once the build is cancelled, which ends unpacking and compressing.
pub(super) struct Cancellable<'a, S> {
    pub(super) inner: S,
    pub(super) cancel: &'a Cancel,
}

impl<S> Cancellable<'_, S> {
    fn check(&self) -> io::Result<()> {
        if self.cancel.is_cancelled() { Err(io::Error::other("the build was cancelled")) } else { Ok(()) }
    }
}

impl<S: Read> Read for Cancellable<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<S: Write> Write for Cancellable<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
