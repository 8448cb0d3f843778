//! The body that works everywhere: copies the file through pooled buffers. For HTTP/2, and wherever a file
//! cannot be mapped or sent.

use std::{
    fs::File,
    future::Future,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::{
    buffer_pool::{BUFFER_LENGTH, Buffer, Filled},
    page_cache::{Cached, Warmer, read_cached},
    zero_copy::shorter_than_expected,
};

/// Bytes that one trip to the blocking pool reads in of a cold file: a thread hop per buffer would cost more
/// than the copying.
const COLD_STEP: u64 = 1 << 20;

/// `length` bytes of a file, copied 64 KiB at a time. What the page cache holds is read on the worker, the rest
/// on the blocking pool. The file must stay as it is while the body lives.
#[derive(Debug)]
pub struct PooledBody {
    file: Arc<File>,
    offset: u64,
    remaining: u64,
    warmer: Warmer,
    /// A read on the blocking pool, where the file system cannot say what is cached.
    read: Option<JoinHandle<io::Result<Bytes>>>,
}

impl PooledBody {
    /// A body of `length` bytes of `file` from `offset`; it fails if the file is shorter than that.
    pub fn new(file: Arc<File>, offset: u64, length: u64) -> Self {
        Self { file, offset, remaining: length, warmer: Warmer::default(), read: None }
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where in the file the next byte is.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Whether a read has been started and not been given out.
    pub(crate) fn is_reading(&self) -> bool {
        self.read.is_some()
    }

    /// Leaves out the next `length` bytes, of those that remain: they are sent in another way.
    pub(crate) fn skip(&mut self, length: u64) {
        debug_assert!(length <= self.remaining && !self.is_reading(), "only what remains is left out");
        self.offset += length;
        self.remaining -= length;
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let wanted = self.remaining.min(BUFFER_LENGTH as u64) as usize;
        loop {
            if let Some(read) = self.read.as_mut() {
                let done = ready!(Pin::new(read).poll(context));
                self.read = None;
                return Poll::Ready(done.map_err(io::Error::other)?);
            }
            ready!(self.warmer.poll_job(context))?;
            let mut buffer = Buffer::take();
            let (space, _) = buffer.split_at_mut(wanted);
            match read_cached(&self.file, space, self.offset)? {
                Cached::Read(length) => {
                    return Poll::Ready(Ok(Bytes::from_owner(Filled { buffer, length })));
                }
                // Pages just read in may be gone again under memory pressure; then they are read in again.
                Cached::Cold => {
                    self.warmer.start(&self.file, self.offset, self.remaining.min(COLD_STEP));
                }
                Cached::Unknown => {
                    let (file, offset) = (Arc::clone(&self.file), self.offset);
                    self.read = Some(tokio::task::spawn_blocking(move || {
                        read_blocking(&file, buffer, wanted, offset)
                    }));
                }
            }
        }
    }
}

fn read_blocking(file: &File, mut buffer: Buffer, wanted: usize, offset: u64) -> io::Result<Bytes> {
    let (space, _) = buffer.split_at_mut(wanted);
    let length = loop {
        match file.read_at(space, offset) {
            Ok(0) => return Err(shorter_than_expected()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    Ok(Bytes::from_owner(Filled { buffer, length }))
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        if body.remaining == 0 {
            return Poll::Ready(None);
        }
        let read = ready!(body.poll_read(context));
        if let Ok(bytes) = &read {
            body.skip(bytes.len() as u64);
        }
        Poll::Ready(Some(read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}
