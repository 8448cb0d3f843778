//! A blob into a file. Long blobs come as several ranges at once, each written where it belongs; the hash follows in
//! order behind them, read back from the page cache, so memory does not grow with the blob.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::StatusCode;
use registry_types::{Descriptor, Digest, DigestHasher};
use tokio::sync::OwnedSemaphorePermit;

use super::check_content_range;
use crate::{Error, Repository, client::Inner, progress::Direction, reply::Reply};

/// How much is gathered before it is written, in bytes: one hop to a blocking thread per this much.
const WRITE_LENGTH: usize = 512 << 10;

/// How much the hasher reads back at once, in bytes.
const HASH_LENGTH: u64 = 512 << 10;

impl Repository {
    /// Pulls a blob into a new file at `path`, which is removed again when the pull fails. The file is not synced.
    pub async fn blob_to_file(&self, descriptor: &Descriptor, path: &Path) -> Result<(), Error> {
        let named = |error| Error::io(format!("writing {}", path.display()), error);
        let file = tokio::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .await
            .map_err(named)?;
        let file = Arc::new(file.into_std().await);
        let outcome = self.blob_into(descriptor, &file).await;
        if outcome.is_err() {
            // The pull's own error is the one to tell.
            let _ = tokio::fs::remove_file(path).await;
        }
        outcome
    }

    /// Pulls a blob into an open, empty file.
    pub async fn blob_into(&self, descriptor: &Descriptor, file: &Arc<File>) -> Result<(), Error> {
        let length = self.inner.range_length;
        let several = self.inner.ranges_at_once > 1 && descriptor.size > length;
        if !several {
            return self.in_one_stream(descriptor, file).await;
        }
        let permit = Inner::permit(&self.inner.pulls).await;
        let first = self.request_blob(&descriptor.digest, Some((0, Some(length - 1)))).await?;
        if first.status() != StatusCode::PARTIAL_CONTENT {
            // No ranges here. The answer cannot be kept: a stream mends cuts in its own way.
            drop((first, permit));
            return self.in_one_stream(descriptor, file).await;
        }
        Ranges { repository: self, descriptor, file, length, received: AtomicU64::new(0) }
            .pull(first, permit)
            .await
    }

    async fn in_one_stream(&self, descriptor: &Descriptor, file: &Arc<File>) -> Result<(), Error> {
        let mut pieces = self.blob_stream(descriptor).await?;
        let mut gathered = BytesMut::with_capacity(WRITE_LENGTH);
        let mut position = 0;
        loop {
            let piece = pieces.next().await.transpose()?;
            if let Some(piece) = &piece {
                gathered.extend_from_slice(piece);
            }
            if gathered.len() >= WRITE_LENGTH || piece.is_none() {
                let part = std::mem::replace(&mut gathered, BytesMut::with_capacity(WRITE_LENGTH)).freeze();
                let written = part.len() as u64;
                write_at(file, part, position).await?;
                position += written;
            }
            if piece.is_none() {
                return Ok(());
            }
        }
    }
}

struct Ranges<'a> {
    repository: &'a Repository,
    descriptor: &'a Descriptor,
    file: &'a Arc<File>,
    /// Length of each range but the last, in bytes.
    length: u64,
    received: AtomicU64,
}

impl Ranges<'_> {
    async fn pull(self, first: Reply, permit: OwnedSemaphorePermit) -> Result<(), Error> {
        let count = self.descriptor.size.div_ceil(self.length);
        let (done, finished) = mpsc::channel();
        let (file, length, size) = (Arc::clone(self.file), self.length, self.descriptor.size);
        let algorithm = self.descriptor.digest.algorithm();
        let hashing = tokio::task::spawn_blocking(move || {
            hash_blocking(&file, DigestHasher::new(algorithm), length, size, &finished)
        });
        let ranges = &self;
        let transfers = stream::iter(0..count).zip(
            // Only the first range has its answer already.
            stream::iter(std::iter::once(Some((first, permit))).chain(std::iter::repeat_with(|| None))),
        );
        let outcome = transfers
            .map(|(index, opened)| {
                let done = done.clone();
                async move {
                    ranges.range(index, opened).await?;
                    // The hasher is gone only when reading failed, which is told below.
                    let _ = done.send(index);
                    Ok::<_, Error>(())
                }
            })
            .buffer_unordered(self.repository.inner.ranges_at_once)
            .try_collect::<()>()
            .await;
        drop(done);
        let hashed = hashing.await.map_err(|error| Error::io("hashing a blob", io::Error::other(error)))?;
        outcome?;
        let what = || self.repository.blob_name(&self.descriptor.digest);
        let actual: Digest = hashed.map_err(|error| Error::io(format!("hashing {}", what()), error))?;
        if actual != self.descriptor.digest {
            return Err(Error::DigestMismatch { what: what(), expected: self.descriptor.digest, actual });
        }
        Ok(())
    }

    /// Pulls one range; after a cut only what is missing of it.
    async fn range(&self, index: u64, opened: Option<(Reply, OwnedSemaphorePermit)>) -> Result<(), Error> {
        let inner = &self.repository.inner;
        let start = index * self.length;
        let end = (start + self.length).min(self.descriptor.size);
        let (mut reply, _permit) = match opened {
            Some((reply, permit)) => (Some(reply), permit),
            None => (None, Inner::permit(&inner.pulls).await),
        };
        let (mut position, mut attempt) = (start, 0);
        loop {
            let before = position;
            match self.part(reply.take(), &mut position, end).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() => {
                    attempt = if position > before { 1 } else { attempt + 1 };
                    let Some(pause) = inner.retry.pause(attempt, None) else { return Err(error) };
                    tracing::debug!(%error, position, "a range was cut and goes on");
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads from `position` to `end`, moving `position` along with what is written.
    async fn part(&self, reply: Option<Reply>, position: &mut u64, end: u64) -> Result<(), Error> {
        let digest = &self.descriptor.digest;
        let reply = match reply {
            Some(reply) => reply,
            None => self.repository.request_blob(digest, Some((*position, Some(end - 1)))).await?,
        };
        if reply.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Error::reply(&reply.host, "it served ranges of a blob and then no longer"));
        }
        check_content_range(&reply, *position, Some(end - 1), self.descriptor.size)?;
        let mut body = reply.into_body();
        let mut gathered = BytesMut::with_capacity(WRITE_LENGTH);
        loop {
            let piece = body.next().await;
            if let Ok(Some(piece)) = &piece {
                if *position + (gathered.len() + piece.len()) as u64 > end {
                    let what = self.repository.blob_name(digest);
                    let actual = *position + (gathered.len() + piece.len()) as u64;
                    return Err(Error::SizeMismatch { what, expected: end, actual });
                }
                gathered.extend_from_slice(piece);
            }
            let more = matches!(piece, Ok(Some(_)));
            if gathered.len() >= WRITE_LENGTH || !more {
                let part = std::mem::replace(&mut gathered, BytesMut::with_capacity(WRITE_LENGTH)).freeze();
                let written = part.len() as u64;
                write_at(self.file, part, *position).await?;
                *position += written;
                let received = self.received.fetch_add(written, Ordering::Relaxed) + written;
                self.repository.inner.progress.position(Direction::Pull, digest, received);
            }
            if piece?.is_none() {
                break;
            }
        }
        if *position == end {
            return Ok(());
        }
        // A clean end too early: some proxies cut like this. What is missing can be asked for.
        Err(Error::Network {
            host: self.repository.host.name.to_string(),
            reason: "a range of a blob ended early".to_owned(),
        })
    }
}

async fn write_at(file: &Arc<File>, part: Bytes, position: u64) -> Result<(), Error> {
    if part.is_empty() {
        return Ok(());
    }
    let file = Arc::clone(file);
    tokio::task::spawn_blocking(move || file.write_all_at(&part, position))
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Error::io("writing a blob", error))
}

/// Hashes ranges in order as `finished` names them in any order.
fn hash_blocking(
    file: &File,
    mut hasher: DigestHasher,
    length: u64,
    size: u64,
    finished: &mpsc::Receiver<u64>,
) -> io::Result<Digest> {
    let mut waiting = BTreeSet::new();
    let mut next = 0;
    let mut piece = vec![0; HASH_LENGTH as usize];
    while let Ok(index) = finished.recv() {
        waiting.insert(index);
        while waiting.remove(&next) {
            next += 1;
            let end = (next * length).min(size);
            while hasher.length() < end {
                let step = HASH_LENGTH.min(end - hasher.length()) as usize;
                let Some(part) = piece.get_mut(..step) else { break };
                file.read_exact_at(part, hasher.length())?;
                hasher.update(part);
            }
        }
    }
    Ok(hasher.finish())
}
