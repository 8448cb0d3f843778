//! Reading a blob that is still coming in. A reader that keeps up gets the bytes as they arrive; one that does not
//! reads them from where they are stored, so it never holds up anybody. The last byte that a reader wants, also of a
//! range, is given only after the whole was verified and stored: a download that turns out wrong ends with an error
//! for everyone who reads it.

use std::{fmt, fs::File, io, os::unix::fs::FileExt, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream};
use registry_blobs::{BlobSource, BlobStream};
use registry_types::Digest;
use tokio::sync::watch;

use super::download::{Download, Progress, changed};
use crate::CoreError;

/// Bytes read at once from what was stored.
const READ: usize = 128 << 10;

/// How long to wait for bytes that came in and are not in the file: the store writes within this time unless its disk
/// is busy.
const WRITE_PAUSE: Duration = Duration::from_millis(5);

/// Gives what holds the blob's first bytes: the session's file while it is written, the blob afterwards. `None` while
/// there is no such thing.
pub(super) type SourceOf =
    Arc<dyn Fn(Progress) -> BoxFuture<'static, Result<Option<BlobSource>, CoreError>> + Send + Sync>;

/// A blob that is coming in.
pub struct BlobFeed {
    pub digest: Digest,
    /// Length, in bytes.
    pub size: u64,
    pub(super) download: Arc<Download>,
    pub(super) source_of: SourceOf,
}

impl fmt::Debug for BlobFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobFeed")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl BlobFeed {
    /// `length` bytes from `start` on, which must be in the blob.
    pub fn bytes(self, start: u64, length: u64) -> BlobStream {
        let end = start.saturating_add(length).min(self.size);
        let watch = self.download.watch();
        let reader = Reader { feed: self, watch, position: start, end, stored: None };
        Box::pin(stream::try_unfold(reader, |mut reader| async move {
            match reader.next().await {
                Ok(piece) => Ok(piece.map(|piece| (piece, reader))),
                Err(error) => Err(io::Error::other(error)),
            }
        }))
    }
}

struct Reader {
    feed: BlobFeed,
    watch: watch::Receiver<Progress>,
    position: u64,
    end: u64,
    stored: Option<Stored>,
}

/// Where a reader that fell behind reads on.
enum Stored {
    File(Arc<File>),
    /// The blob from the reader's position on.
    Stream(BlobStream),
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, CoreError> {
        if self.position >= self.end {
            return Ok(None);
        }
        loop {
            let progress = self.watch.borrow_and_update().clone();
            let given = match &progress.outcome {
                Some(Err(error)) => return Err(error.clone()),
                Some(Ok(())) => self.feed.size,
                None => progress.received.min(self.end - 1),
            };
            if self.position >= given {
                changed(&mut self.watch).await?;
                continue;
            }
            let ended = progress.outcome.is_some();
            let most = (given.min(self.end) - self.position) as usize;
            // A stream stands where the reader does, so nothing is taken from elsewhere any more.
            let streamed = matches!(self.stored, Some(Stored::Stream(_)));
            let piece = match self.feed.download.bytes_at(self.position).filter(|_| !streamed) {
                Some(bytes) => Some(bytes),
                None => self.stored(progress, most).await?,
            };
            match piece {
                Some(mut piece) => {
                    piece.truncate(most);
                    self.position += piece.len() as u64;
                    return Ok(Some(piece));
                }
                None if ended => {
                    return Err(CoreError::Internal {
                        reason: format!("blob {} was stored and cannot be read", self.feed.digest),
                    });
                }
                None => tokio::time::sleep(WRITE_PAUSE).await,
            }
        }
    }

    /// Bytes that were stored; `None` while there are none.
    async fn stored(&mut self, progress: Progress, most: usize) -> Result<Option<Bytes>, CoreError> {
        let stored = match &mut self.stored {
            Some(stored) => stored,
            None => match (self.feed.source_of)(progress).await? {
                Some(BlobSource::File(file)) => self.stored.insert(Stored::File(file)),
                Some(BlobSource::Remote(remote)) => {
                    let stream = remote.stream(self.position, self.end - self.position).await?;
                    self.stored.insert(Stored::Stream(stream))
                }
                // Only the end brings something.
                None => return self.feed.download.ended().await.map(|()| None),
            },
        };
        let digest = self.feed.digest;
        let failed = |error: &dyn fmt::Display| CoreError::Internal {
            reason: format!("cannot read what was stored of blob {digest}: {error}"),
        };
        let file = match stored {
            Stored::File(file) => Arc::clone(file),
            Stored::Stream(stream) => return stream.next().await.transpose().map_err(|error| failed(&error)),
        };
        let (position, length) = (self.position, most.min(READ));
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; length];
            let length = file.read_at(&mut buffer, position)?;
            buffer.truncate(length);
            io::Result::Ok(buffer)
        });
        let bytes = read.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        Ok(Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty()))
    }
}
