//! The body that sends a file without copying it, on a [`ZeroCopyStream`](crate::ZeroCopyStream).
//!
//! A chunk is handed to hyper only when its bytes are in the page cache, so `sendfile` does not wait for the
//! disk on a worker. Dropping a body that has begun and not ended closes its connection.

use std::{
    fs::File,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    PooledBody,
    carrier::{self, CarrierTable, PIECE_LENGTH},
    page_cache::Warmer,
};

/// `length` bytes of a file for one connection; see [`FileSender::body`](crate::FileSender::body). Only that
/// connection's HTTP/1 responses may carry it: elsewhere its chunks are zeros.
#[derive(Debug)]
pub struct FileBody {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Pieces(Pieces),
    /// Where the process could not reserve the carrier's address space.
    Copied(PooledBody),
}

#[derive(Debug)]
struct Pieces {
    table: Arc<CarrierTable>,
    file: Arc<File>,
    offset: u64,
    remaining: u64,
    begun: bool,
    warmer: Warmer,
}

impl FileBody {
    pub(crate) fn new(table: Arc<CarrierTable>, file: Arc<File>, offset: u64, length: u64) -> Self {
        let inner = if carrier::is_available() {
            let warmer = Warmer::default();
            Inner::Pieces(Pieces { table, file, offset, remaining: length, begun: false, warmer })
        } else {
            Inner::Copied(PooledBody::new(file, offset, length))
        };
        Self { inner }
    }
}

impl Pieces {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let length = self.remaining.min(PIECE_LENGTH as u64);
        ready!(self.warmer.poll_cached(context, &self.file, self.offset, length))?;
        let file = Arc::clone(&self.file);
        let Some(bytes) = self.table.admit(file, self.offset, length as usize) else {
            return Poll::Ready(Err(io::Error::other("too many file pieces wait on one connection")));
        };
        self.begun = true;
        self.offset += length;
        self.remaining -= length;
        Poll::Ready(Ok(bytes))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if self.begun && self.remaining > 0 {
            self.table.break_connection();
        }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.get_mut().inner {
            Inner::Pieces(pieces) if pieces.remaining == 0 => Poll::Ready(None),
            Inner::Pieces(pieces) => Poll::Ready(Some(ready!(pieces.poll_piece(context)).map(Frame::data))),
            Inner::Copied(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Pieces(pieces) => pieces.remaining == 0,
            Inner::Copied(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Pieces(pieces) => SizeHint::with_exact(pieces.remaining),
            Inner::Copied(body) => body.size_hint(),
        }
    }
}
