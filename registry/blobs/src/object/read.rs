//! Reading objects. A stream gives exactly the bytes that were asked for or ends with an error: the object's length
//! is compared with the one on record, and a connection that is cut on the way is made again at the byte where it
//! was cut. One request is open for a stream and its bytes are taken as the client takes them, so a stream holds no
//! more than what one read of its connection brings.

use std::{io, ops::Range, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use registry_types::ObjectKey;
use url::Url;

use super::remote::{Remote, RemoteError, told};
use crate::{BlobError, BlobStream, RemoteBlob};

/// Longest chunk that a stream gives, in bytes: what a connection buffers for its client at once.
const CHUNK: usize = 256 << 10;

/// How long the object store may be silent in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(15);

/// How often a stream is made again without [`RENEWAL`] bytes between: a store that cuts every answer after a few
/// bytes is broken.
const RESUMPTIONS: u32 = 5;

/// Bytes after which earlier cuts are forgiven: a long download may meet many.
const RENEWAL: u64 = 8 << 20;

/// A blob in the object store.
#[derive(Debug)]
pub(super) struct RemoteObject {
    remote: Remote,
    key: ObjectKey,
    size: u64,
}

impl RemoteObject {
    pub(super) fn new(remote: Remote, key: ObjectKey, size: u64) -> Self {
        Self { remote, key, size }
    }
}

impl RemoteBlob for RemoteObject {
    fn stream(&self, start: u64, length: u64) -> BoxFuture<'_, Result<BlobStream, BlobError>> {
        let end = start.saturating_add(length).min(self.size);
        let reading = Reading::new(self.remote.clone(), self.key.clone(), self.size, start..end);
        reading.start().boxed()
    }

    fn presign(&self, lifetime: Duration) -> BoxFuture<'_, Result<Option<Url>, BlobError>> {
        let signed = self.remote.presign(&self.key, lifetime);
        async move { signed.await.map_err(|error| error.told("sign a URL of", &self.key)) }.boxed()
    }
}

/// Reads an object of `size` bytes from its start to its end.
pub(super) async fn read_each(
    remote: &Remote,
    key: &ObjectKey,
    size: u64,
    mut each: impl FnMut(Bytes),
) -> Result<(), BlobError> {
    let reading = Reading::new(remote.clone(), key.clone(), size, 0..size);
    let mut stream = reading.start().await?;
    while let Some(bytes) = stream.next().await {
        each(
            bytes
                .map_err(|error| BlobError::Unavailable { reason: format!("cannot read {key}: {error}") })?,
        );
    }
    Ok(())
}

/// A stream under way.
struct Reading {
    remote: Remote,
    key: ObjectKey,
    size: u64,
    /// What is still to come.
    left: Range<u64>,
    answer: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// The rest of a long chunk.
    chunk: Bytes,
    resumptions: u32,
    since_resumption: u64,
}

impl Reading {
    fn new(remote: Remote, key: ObjectKey, size: u64, left: Range<u64>) -> Self {
        Self {
            remote,
            key,
            size,
            left,
            answer: None,
            chunk: Bytes::new(),
            resumptions: 0,
            since_resumption: 0,
        }
    }

    /// Makes the first request, so that what is wrong with the object is known before an answer is promised.
    async fn start(mut self) -> Result<BlobStream, BlobError> {
        if !self.left.is_empty() {
            self.open().await.map_err(|error| match error {
                OpenError::Remote(error) => error.told("read", &self.key),
                OpenError::Length(length) => BlobError::Missing {
                    what: format!("{}, which has {length} bytes instead of {},", self.key, self.size),
                },
            })?;
        }
        Ok(Box::pin(stream::try_unfold(self, async |mut reading| {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        })))
    }

    async fn open(&mut self) -> Result<(), OpenError> {
        let opened = self.remote.open(&self.key, self.left.clone()).await.map_err(OpenError::Remote)?;
        if opened.whole != self.size {
            return Err(OpenError::Length(opened.whole));
        }
        self.answer = Some(opened.bytes);
        Ok(())
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.chunk.is_empty() {
            if self.left.is_empty() {
                return Ok(None);
            }
            let Some(answer) = &mut self.answer else {
                self.resume().await?;
                continue;
            };
            let failed = match tokio::time::timeout(SILENCE, answer.next()).await {
                Ok(Some(Ok(bytes))) => {
                    self.chunk = bytes;
                    break;
                }
                Ok(Some(Err(error))) => told(&error),
                Ok(None) => "the answer ended too early".to_owned(),
                Err(_) => format!("no byte came for {} seconds", SILENCE.as_secs()),
            };
            self.answer = None;
            if self.resumptions == RESUMPTIONS {
                return Err(io::Error::other(format!("byte {} of {}: {failed}", self.left.start, self.key)));
            }
            tracing::debug!(key = %self.key, offset = self.left.start, failed, "a read was cut");
        }
        let mut bytes = self.chunk.split_to(self.chunk.len().min(CHUNK));
        // An answer longer than its request is no worse than one that ends with it.
        bytes.truncate((self.left.end - self.left.start).min(bytes.len() as u64) as usize);
        self.left.start += bytes.len() as u64;
        if self.left.is_empty() {
            (self.answer, self.chunk) = (None, Bytes::new());
        }
        self.since_resumption += bytes.len() as u64;
        if self.since_resumption >= RENEWAL {
            self.resumptions = 0;
        }
        Ok(Some(bytes))
    }

    async fn resume(&mut self) -> io::Result<()> {
        self.resumptions += 1;
        self.since_resumption = 0;
        self.open().await.map_err(|error| {
            let reason = match error {
                OpenError::Remote(RemoteError::Absent) => "it was removed".to_owned(),
                OpenError::Remote(error) => error.told("go on with", &self.key).to_string(),
                OpenError::Length(length) => format!("it has {length} bytes now"),
            };
            io::Error::other(format!("byte {} of {}: {reason}", self.left.start, self.key))
        })
    }
}

enum OpenError {
    Remote(RemoteError),
    /// The object has another length than its record.
    Length(u64),
}
