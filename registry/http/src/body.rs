//! Response bodies: bytes at hand, or a part of a file by the cheapest way that the connection has.

use std::{
    fs::File,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
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
}

impl ResponseBody {
    pub(crate) fn empty() -> Self {
        Self::Full(Full::default())
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(bytes.into()))
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::ZeroCopy(body) => body.is_end_stream(),
            Self::Mapped(body) => body.is_end_stream(),
            Self::Pooled(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::ZeroCopy(body) => body.size_hint(),
            Self::Mapped(body) => body.size_hint(),
            Self::Pooled(body) => body.size_hint(),
        }
    }
}
