//! Pushing what is read once and has no known length: a layer while it is made. While one chunk is sent the next
//! is gathered; a chunk stays in memory until the registry has it, so a cut costs nothing.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use registry_types::{Algorithm, Digest, DigestHasher};

use super::session::Session;
use crate::{Error, Repository, client::Inner, transport::Payload};

impl Repository {
    /// Uploads a stream; gives its digest and length in bytes. With `expected`, a stream with another digest is an
    /// error and leaves nothing in the repository. `pieces` fails with the caller's own error text.
    pub async fn upload_stream<S, E>(
        &self,
        pieces: S,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64), Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let _permit = Inner::permit(&self.inner.pushes).await;
        let mut session = self.start_upload().await?;
        let algorithm = expected.map_or(Algorithm::Sha256, Digest::algorithm);
        let mut gatherer = Gatherer {
            pieces: Box::pin(pieces),
            hasher: DigestHasher::new(algorithm),
            length: self.inner.chunk_length.max(session.shortest_chunk) as usize,
            rest: Bytes::new(),
        };
        let outcome = self.send_stream(&mut session, &mut gatherer, expected).await;
        if outcome.is_err() {
            session.cancel(self).await;
        }
        outcome
    }

    async fn send_stream<S, E>(
        &self,
        session: &mut Session,
        gatherer: &mut Gatherer<S>,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64), Error>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut chunk = gatherer.next().await?;
        let mut chunk_start = 0;
        while let Some(sending) = chunk {
            let start = chunk_start;
            chunk_start += sending.len() as u64;
            let (sent, next) = tokio::join!(
                self.send_chunk(session, expected, start, Payload::Bytes(sending)),
                gatherer.next()
            );
            sent?;
            chunk = next?;
        }
        let length = gatherer.hasher.length();
        let digest = gatherer.hasher.clone().finish();
        if let Some(expected) = expected
            && digest != *expected
        {
            let what = format!("the stream pushed to {}", self.name);
            return Err(Error::DigestMismatch { what, expected: *expected, actual: digest });
        }
        self.close(session, &digest).await?;
        Ok((digest, length))
    }

    /// Sends the bytes of one chunk that the registry does not have.
    async fn send_chunk(
        &self,
        session: &mut Session,
        expected: Option<&Digest>,
        start: u64,
        chunk: Payload,
    ) -> Result<(), Error> {
        let end = start + chunk.length();
        let (mut attempt, mut furthest) = (0, start);
        while session.offset < end {
            let rest = chunk.part(session.offset - start, u64::MAX);
            let error = match session.patch(self, expected, rest).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            if !error.is_transient() && !matches!(error, Error::Registry { status: 416, .. }) {
                return Err(error);
            }
            attempt = if session.offset > furthest { 1 } else { attempt + 1 };
            furthest = furthest.max(session.offset);
            let Some(pause) = self.inner.retry.pause(attempt, None) else { return Err(error) };
            tracing::debug!(%error, offset = session.offset, "an upload was cut and goes on");
            tokio::time::sleep(pause).await;
            if !session.ask_offset(self).await? || !(start..=end).contains(&session.offset) {
                return Err(Error::reply(
                    &self.host.name,
                    "it lost a part of an upload that it had taken, which is not kept here any more",
                ));
            }
        }
        Ok(())
    }

    async fn close(&self, session: &mut Session, digest: &Digest) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            let error = match session.put(self, digest, Payload::Empty).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_transient() || error.is_not_found() => error,
                Err(error) => return Err(error),
            };
            // The answer may have been lost, not the upload.
            if self.blob_exists(digest).await? {
                return Ok(());
            }
            attempt += 1;
            match self.inner.retry.pause(attempt, None).filter(|_| error.is_transient()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }
}

/// Cuts a stream into chunks and hashes it on the way.
struct Gatherer<S> {
    pieces: std::pin::Pin<Box<S>>,
    hasher: DigestHasher,
    /// Length of a chunk, in bytes.
    length: usize,
    /// What a piece held beyond its chunk.
    rest: Bytes,
}

impl<S, E> Gatherer<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::error::Error + Send + Sync + 'static,
{
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut chunk = BytesMut::new();
        loop {
            let room = self.length - chunk.len();
            let taken = self.rest.split_to(room.min(self.rest.len()));
            chunk.extend_from_slice(&taken);
            if chunk.len() == self.length {
                break;
            }
            match self.pieces.next().await {
                None => break,
                Some(Ok(piece)) => self.rest = piece,
                Some(Err(error)) => return Err(source_error(error)),
            }
        }
        self.hasher.update(&chunk);
        Ok((!chunk.is_empty()).then(|| chunk.freeze()))
    }
}

/// The failure of the caller's stream; one of ours, such as a damaged source, stays what it is.
fn source_error<E: std::error::Error + Send + Sync + 'static>(error: E) -> Error {
    let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
    match error.downcast::<Error>() {
        Ok(own) => *own,
        Err(other) => Error::io("reading the stream to push", std::io::Error::other(other)),
    }
}
