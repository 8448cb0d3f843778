//! A blob as a stream of verified bytes. The last piece is held back until the digest is known to be right, so a
//! reader that got the announced length got the right bytes.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use registry_types::{Descriptor, DigestHasher};
use tokio::io::AsyncRead;

use super::Opened;
use crate::{Error, Repository, client::Inner, progress::Direction};

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

/// The content of a blob. It ends without error only after [`BlobStream::size`] bytes with the right digest.
pub struct BlobStream {
    size: u64,
    pieces: Pieces,
}

impl BlobStream {
    /// Length of the whole blob, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same as a reader; errors become [`io::Error`]s that hold them.
    pub fn into_reader(self) -> impl AsyncRead + Send + Unpin {
        tokio_util::io::StreamReader::new(self.pieces.map_err(io::Error::other))
    }
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobStream({} bytes)", self.size)
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.as_mut().poll_next(context)
    }
}

struct Verifier<S> {
    pieces: S,
    hasher: DigestHasher,
    expected: Descriptor,
    what: String,
    last: Option<Bytes>,
}

/// Wraps `pieces` so that they, behind the bytes that `hasher` has seen, are checked against a descriptor. `what` names
/// the blob in errors.
pub(crate) fn verified<S>(
    descriptor: &Descriptor,
    what: String,
    hasher: DigestHasher,
    pieces: S,
) -> BlobStream
where
    S: Stream<Item = Result<Bytes, Error>> + Send + Unpin + 'static,
{
    let verifier = Verifier { pieces, hasher, expected: descriptor.clone(), what, last: None };
    let pieces = stream::try_unfold(Some(verifier), |state| async move {
        let Some(mut verifier) = state else { return Ok(None) };
        let size = verifier.expected.size;
        loop {
            let Some(piece) = verifier.pieces.next().await.transpose()? else {
                return verifier.finish().map(|last| last.map(|last| (last, None)));
            };
            if piece.is_empty() {
                continue;
            }
            verifier.hasher.update(&piece);
            let received = verifier.hasher.length();
            if received > size {
                return Err(Error::SizeMismatch { what: verifier.what, expected: size, actual: received });
            }
            if received == size {
                verifier.last = Some(piece);
            } else {
                return Ok(Some((piece, Some(verifier))));
            }
        }
    });
    BlobStream { size: descriptor.size, pieces: Box::pin(pieces) }
}

impl<S> Verifier<S> {
    fn finish(self) -> Result<Option<Bytes>, Error> {
        let received = self.hasher.length();
        if received != self.expected.size {
            return Err(Error::SizeMismatch {
                what: self.what,
                expected: self.expected.size,
                actual: received,
            });
        }
        let actual = self.hasher.finish();
        if actual != self.expected.digest {
            return Err(Error::DigestMismatch { what: self.what, expected: self.expected.digest, actual });
        }
        Ok(self.last)
    }
}

impl Repository {
    /// A blob as it comes in, verified. It counts as one of the client's transfers until it is dropped.
    pub async fn blob_stream(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        self.blob_stream_behind(descriptor, DigestHasher::new(descriptor.digest.algorithm())).await
    }

    /// The bytes of a blob behind those that `known` has seen, verified as a whole: for a pull that another process
    /// began. The stream's size is that of the whole blob.
    pub async fn blob_stream_behind(
        &self,
        descriptor: &Descriptor,
        known: DigestHasher,
    ) -> Result<BlobStream, Error> {
        let position = known.length();
        let permit = Inner::permit(&self.inner.pulls).await;
        let opened = if position > 0 && position == descriptor.size {
            None
        } else {
            Some(self.open_blob(&descriptor.digest, descriptor.size, position).await?)
        };
        let state = Raw {
            repository: self.clone(),
            descriptor: descriptor.clone(),
            position,
            attempt: 0,
            opened,
            _permit: permit,
        };
        let pieces = stream::try_unfold(state, |mut state| async move {
            Ok(state.next().await?.map(|piece| (piece, state)))
        });
        Ok(verified(descriptor, self.blob_name(&descriptor.digest), known, Box::pin(pieces)))
    }
}

/// A blob's bytes as the registry sends them, going on after cuts.
struct Raw {
    repository: Repository,
    descriptor: Descriptor,
    position: u64,
    /// Failures since the last byte that came.
    attempt: u32,
    opened: Option<Opened>,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

impl Raw {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.try_next().await {
                Ok(piece) => return Ok(piece),
                Err(error) => {
                    self.opened = None;
                    self.attempt += 1;
                    let pause = self.repository.inner.retry.pause(self.attempt, None);
                    let Some(pause) = pause.filter(|_| error.is_transient()) else { return Err(error) };
                    tracing::debug!(%error, position = self.position, "a pull was cut and goes on");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn try_next(&mut self) -> Result<Option<Bytes>, Error> {
        let Descriptor { digest, size, .. } = &self.descriptor;
        if self.opened.is_none() {
            if self.position == *size {
                return Ok(None);
            }
            self.opened = Some(self.repository.open_blob(digest, *size, self.position).await?);
        }
        let Some(opened) = &mut self.opened else { return Ok(None) };
        while let Some(mut piece) = opened.body.next().await? {
            let known = opened.skip.min(piece.len() as u64);
            opened.skip -= known;
            let piece = piece.split_off(known as usize);
            if piece.is_empty() {
                continue;
            }
            self.position += piece.len() as u64;
            self.attempt = 0;
            self.repository.inner.progress.position(Direction::Pull, digest, self.position);
            return Ok(Some(piece));
        }
        Ok(None)
    }
}
