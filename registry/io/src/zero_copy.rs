//! A TCP stream below hyper that sends file pieces with `sendfile`, and the handle that makes bodies for it.
//!
//! hyper sees an ordinary vectored stream. Slices that lie in the carrier are replaced by the file pieces they
//! stand for; everything else is written as it is, in order. The stream guarantees that no carrier memory
//! reaches the socket: a slice that stands for nothing, or a piece lost on the way, ends the connection.
//!
//! hyper's `pipeline_flush` must stay off: it copies bodies, and the copy is noticed and refused here.

use std::{
    fs::File,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::{
    FileBody,
    carrier::{self, CarrierTable},
};

/// A connection whose responses may carry file pieces.
#[derive(Debug)]
pub struct ZeroCopyStream {
    socket: TcpStream,
    table: Arc<CarrierTable>,
}

/// Makes bodies for one connection. Only responses on that connection, by HTTP/1, may carry them.
#[derive(Debug, Clone)]
pub struct FileSender {
    table: Arc<CarrierTable>,
}

impl ZeroCopyStream {
    /// Wraps a connected socket; the sender makes the bodies that may be sent on it.
    pub fn new(socket: TcpStream) -> (Self, FileSender) {
        let table = Arc::new(CarrierTable::default());
        (Self { socket, table: Arc::clone(&table) }, FileSender { table })
    }

    fn check(&self) -> io::Result<()> {
        if self.table.is_broken() {
            return Err(io::Error::other("a file body ended before it was sent whole"));
        }
        Ok(())
    }

    /// Runs a non-blocking send as often as the socket becomes writable.
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        mut send: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(context))?;
            match self.socket.try_io(Interest::WRITABLE, || send(&self.socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Sends `prefix` in a way that lets the kernel put it into one packet with the file bytes that follow.
    fn poll_prefix(&self, context: &mut Context<'_>, prefix: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        self.poll_send(context, |socket| {
            Ok(rustix::net::sendmsg(socket, prefix, &mut SendAncillaryBuffer::default(), flags)?)
        })
    }

    fn poll_piece(&self, context: &mut Context<'_>, placeholder: &[u8]) -> Poll<io::Result<usize>> {
        let Some(target) = self.table.target(placeholder) else {
            self.table.break_connection();
            return Poll::Ready(Err(io::Error::other("a file body was sent on a connection not its own")));
        };
        let count = ready!(self.poll_send(context, |socket| {
            let mut offset = target.offset;
            Ok(rustix::fs::sendfile(socket, &*target.file, Some(&mut offset), placeholder.len())?)
        }))?;
        if count == 0 {
            self.table.break_connection();
            return Poll::Ready(Err(shorter_than_expected()));
        }
        self.table.sent(&target, count);
        Poll::Ready(Ok(count))
    }
}

impl FileSender {
    /// A body of `length` bytes of `file` from `offset`. The file must stay as it is while the body lives; if it
    /// is shorter than that, the connection ends with an error.
    pub fn body(&self, file: Arc<File>, offset: u64, length: u64) -> FileBody {
        FileBody::new(Arc::clone(&self.table), file, offset, length)
    }
}

/// The error of a file that ends before the length it was announced with.
pub(crate) fn shorter_than_expected() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than the length announced for it")
}

impl AsyncRead for ZeroCopyStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for ZeroCopyStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        stream.check()?;
        let prefix = slices.iter().take_while(|slice| !carrier::holds(slice)).count();
        let (prefix, rest) = slices.split_at(prefix);
        match rest.first() {
            None => Pin::new(&mut stream.socket).poll_write_vectored(context, prefix),
            Some(placeholder) if prefix.iter().all(|slice| slice.is_empty()) => {
                stream.poll_piece(context, placeholder)
            }
            Some(_) => stream.poll_prefix(context, prefix),
        }
    }

    /// True, so that hyper hands over the slices themselves instead of copying them together.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}
