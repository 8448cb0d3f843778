//! A connection's stream that waits for its peer, but not for ever: a peer that takes no byte for too long, or
//! too few on average, ends the connection with an error.
//!
//! It stands directly above the socket (below TLS, above `ZeroCopyStream`), where progress is a byte that the
//! kernel took, and passes vectored writes on untouched: `ZeroCopyStream` knows its slices by their addresses.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::pace::Pace;

#[derive(Debug)]
pub(crate) struct PatientStream<S> {
    stream: S,
    idle: Duration,
    pace: Pace,
    /// Since when the peer takes nothing.
    blocked: Option<Instant>,
    /// Made at the first wait: most connections never have one.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncWrite + Unpin> PatientStream<S> {
    pub(crate) fn new(stream: S, idle: Duration) -> Self {
        Self { stream, idle, pace: Pace::new(idle), blocked: None, timer: None }
    }

    /// Judges what an attempt to write came to. `count` tells how many bytes moved.
    fn judge<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
        count: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(done)) => {
                let waited = self.blocked.take().map(|since| since.elapsed()).unwrap_or_default();
                if let Err(slow) = self.pace.note(waited, count(done)) {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, slow.to_string())));
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                if self.blocked.is_none() {
                    self.blocked = Some(Instant::now());
                    // A new timer for each wait costs no more than the system call that found the socket full.
                    self.timer = Some(Box::pin(sleep(self.idle)));
                }
                let over = self.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(context).is_ready());
                if over {
                    let message = format!("the peer took no byte for {} seconds", self.idle.as_secs());
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)));
                }
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.judge(context, written, |count| *count)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.judge(context, written, |count| *count)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // A socket has nothing to flush and does not wait to shut down, so neither needs a limit.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_ends_the_write() {
        let (near, _far) = duplex(16);
        let mut stream = PatientStream::new(near, Duration::from_millis(50));
        let error = stream.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn each_byte_taken_gives_new_time() {
        let (near, mut far) = duplex(16);
        let mut stream = PatientStream::new(near, Duration::from_millis(400));
        let reader = tokio::spawn(async move {
            let mut total = 0;
            let mut some = [0; 16];
            while total < 160 {
                sleep(Duration::from_millis(100)).await;
                total += far.read(&mut some).await.expect("readable");
            }
        });
        stream.write_all(&[0; 160]).await.expect("slow, but never idle");
        reader.await.expect("read all");
    }
}
