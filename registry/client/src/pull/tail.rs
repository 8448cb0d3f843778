//! A blob's bytes as they come, from any offset: for callers that verify the whole themselves, and go on by themselves
//! after a cut.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{StatusCode, header};
use registry_types::Digest;

use super::{Opened, parse_content_range};
use crate::{Error, Repository, client::Inner};

/// The end of a blob, unverified.
pub struct BlobTail {
    size: u64,
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>,
}

impl BlobTail {
    /// Length of the whole blob, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl fmt::Debug for BlobTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobTail(of {} bytes)", self.size)
    }
}

impl Stream for BlobTail {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

impl Repository {
    /// The bytes of a blob from `offset` on, whose length need not be known, whether or not the registry serves ranges.
    /// It counts as one of the client's transfers until it is dropped.
    pub async fn blob_tail(&self, digest: &Digest, offset: u64) -> Result<BlobTail, Error> {
        let permit = Inner::permit(&self.inner.pulls).await;
        let reply = self.request_blob(digest, (offset > 0).then_some((offset, None))).await?;
        let (size, skip) = if reply.status() == StatusCode::PARTIAL_CONTENT {
            let range = parse_content_range(reply.header(header::CONTENT_RANGE).unwrap_or_default());
            let size = range.filter(|(first, _, _)| *first == offset).and_then(|(_, _, size)| size);
            (size.ok_or_else(|| Error::reply(&reply.host, "it sent another range of a blob"))?, 0)
        } else {
            let size = match reply.content_length() {
                Some(size) => size,
                None => self.blob_size(digest).await?.unwrap_or_default(),
            };
            (size, offset)
        };
        let state = (Opened { body: reply.into_body(), skip }, permit);
        let pieces = stream::try_unfold(state, |(mut opened, permit)| async move {
            while let Some(mut piece) = opened.body.next().await? {
                let known = opened.skip.min(piece.len() as u64);
                opened.skip -= known;
                let piece = piece.split_off(known as usize);
                if !piece.is_empty() {
                    return Ok(Some((piece, (opened, permit))));
                }
            }
            Ok(None)
        });
        Ok(BlobTail { size, pieces: Box::pin(pieces) })
    }
}
