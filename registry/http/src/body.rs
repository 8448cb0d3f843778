//! Response bodies: bytes at hand, a part of a file by the cheapest way that the connection has, or bytes that come
//! from elsewhere.

use std::{
    fmt,
    fs::File,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use registry_blobs::BlobStream;
use registry_io::{FileBody, FileSender, MappedBody, PooledBody};

/// How a connection sends files.
#[derive(Debug, Clone)]
pub(crate) enum FileTransport {
    /// HTTP/1.1 without TLS: sendfile below hyper.
    ZeroCopy(FileSender),
    /// HTTP/1.1 on TLS: windows of a mapping.
    Mapped,
    /// HTTP/2, where slow streams would hold windows for long: pooled buffers.
    Pooled,
}

#[derive(Debug)]
pub(crate) enum ResponseBody {
    Full(Full<Bytes>),
    ZeroCopy(FileBody),
    Mapped(MappedBody),
    Pooled(PooledBody),
    Remote(RemoteBody),
}

/// A part of a blob that is read over the network.
pub(crate) struct RemoteBody {
    stream: BlobStream,
    left: u64,
}

impl fmt::Debug for RemoteBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteBody").field("left", &self.left).finish_non_exhaustive()
    }
}

impl RemoteBody {
    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(ready!(self.stream.as_mut().poll_next(context)).map(|chunk| {
            let chunk =
                chunk.inspect_err(|error| tracing::warn!(%error, "a blob cannot be sent to its end"))?;
            self.left = self.left.saturating_sub(chunk.len() as u64);
            Ok(Frame::data(chunk))
        }))
    }
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Self::Full(Full::default())
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(bytes.into()))
    }

    /// The `length` bytes that `stream` gives.
    pub(crate) fn remote(stream: BlobStream, length: u64) -> Self {
        Self::Remote(RemoteBody { stream, left: length })
    }

    /// `length` bytes of `file` from `offset` on.
    pub(crate) fn file(transport: &FileTransport, file: Arc<File>, offset: u64, length: u64) -> Self {
        match transport {
            FileTransport::ZeroCopy(sender) => Self::ZeroCopy(sender.body(file, offset, length)),
            FileTransport::Mapped => Self::Mapped(MappedBody::new(file, offset, length)),
            FileTransport::Pooled => Self::Pooled(PooledBody::new(file, offset, length)),
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::ZeroCopy(body) => Pin::new(body).poll_frame(context),
            Self::Mapped(body) => Pin::new(body).poll_frame(context),
            Self::Pooled(body) => Pin::new(body).poll_frame(context),
            Self::Remote(body) => body.poll_data(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::ZeroCopy(body) => body.is_end_stream(),
            Self::Mapped(body) => body.is_end_stream(),
            Self::Pooled(body) => body.is_end_stream(),
            Self::Remote(body) => body.left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::ZeroCopy(body) => body.size_hint(),
            Self::Mapped(body) => body.size_hint(),
            Self::Pooled(body) => body.size_hint(),
            Self::Remote(body) => SizeHint::with_exact(body.left),
        }
    }
}
