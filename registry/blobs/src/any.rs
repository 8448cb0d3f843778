//! The store that a configuration names, as one type: what stands above the trait is compiled once.

use std::{fs::File, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::Either;
use registry_types::{BlobLocation, Digest, UploadId, UploadProgress};

use crate::{
    BlobError, BlobHandle, BlobStore, BlobWriter, LocalBlobs, LocalWriter, ObjectBlobs, ObjectWriter,
    StoredBlob,
};

type Answer<T> = Result<T, BlobError>;

/// One of the stores. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum AnyBlobs {
    Local(LocalBlobs),
    Object(ObjectBlobs),
}

/// A session of [`AnyBlobs`].
#[derive(Debug)]
pub enum AnyWriter {
    Local(LocalWriter),
    Object(ObjectWriter),
}

/// Hands a call on to the store, or its writer, that `$self` is.
macro_rules! hand_on {
    ($self:expr, $inner:ident => $call:expr) => {
        match $self {
            Self::Local($inner) => $call.await,
            Self::Object($inner) => $call.await,
        }
    };
}

impl BlobStore for AnyBlobs {
    type Writer = AnyWriter;

    fn records_sessions(&self) -> bool {
        match self {
            Self::Local(blobs) => blobs.records_sessions(),
            Self::Object(blobs) => blobs.records_sessions(),
        }
    }

    async fn ping(&self) -> Answer<()> {
        hand_on!(self, blobs => blobs.ping())
    }

    async fn resume(&self, id: UploadId, writer: u64, progress: &UploadProgress) -> Answer<AnyWriter> {
        match self {
            Self::Local(blobs) => blobs.resume(id, writer, progress).await.map(AnyWriter::Local),
            Self::Object(blobs) => blobs.resume(id, writer, progress).await.map(AnyWriter::Object),
        }
    }

    async fn abort(&self, id: UploadId, progress: Option<&UploadProgress>) -> Answer<()> {
        hand_on!(self, blobs => blobs.abort(id, progress))
    }

    async fn abandon(&self, id: UploadId, progress: Option<&UploadProgress>) -> Answer<()> {
        hand_on!(self, blobs => blobs.abandon(id, progress))
    }

    async fn session_file(&self, id: UploadId) -> Answer<Option<Arc<File>>> {
        hand_on!(self, blobs => blobs.session_file(id))
    }

    async fn open(&self, digest: &Digest, location: &BlobLocation, size: u64) -> Answer<Option<BlobHandle>> {
        hand_on!(self, blobs => blobs.open(digest, location, size))
    }

    async fn remove(&self, digest: &Digest, location: &BlobLocation) -> Answer<bool> {
        hand_on!(self, blobs => blobs.remove(digest, location))
    }

    async fn discard(&self, leftovers: Vec<BlobLocation>) -> Answer<()> {
        hand_on!(self, blobs => blobs.discard(leftovers))
    }

    async fn stale_sessions(&self, age: Duration) -> Answer<Vec<UploadId>> {
        hand_on!(self, blobs => blobs.stale_sessions(age))
    }
}

impl BlobWriter for AnyWriter {
    async fn write(&mut self, chunk: Bytes) -> Answer<()> {
        hand_on!(self, writer => writer.write(chunk))
    }

    fn checkpoint(&mut self) -> impl Future<Output = Answer<UploadProgress>> + Send + use<> {
        match self {
            Self::Local(writer) => Either::Left(writer.checkpoint()),
            Self::Object(writer) => Either::Right(writer.checkpoint()),
        }
    }

    fn checkpoint_on_the_way(&mut self) -> impl Future<Output = Answer<UploadProgress>> + Send + use<> {
        match self {
            Self::Local(writer) => Either::Left(writer.checkpoint_on_the_way()),
            Self::Object(writer) => Either::Right(writer.checkpoint_on_the_way()),
        }
    }

    async fn leave(self) -> Answer<UploadProgress> {
        hand_on!(self, writer => writer.leave())
    }

    fn wants_record(&self) -> bool {
        match self {
            Self::Local(writer) => writer.wants_record(),
            Self::Object(writer) => writer.wants_record(),
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Local(writer) => writer.length(),
            Self::Object(writer) => writer.length(),
        }
    }

    async fn commit(self, expected: &Digest) -> Answer<StoredBlob> {
        hand_on!(self, writer => writer.commit(expected))
    }
}
