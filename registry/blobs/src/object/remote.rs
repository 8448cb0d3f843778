//! The object store as uploads and reads use it: every request has a time limit and is made again a bounded number
//! of times, and every failure is told apart by what can be done about it.

use std::{fmt, future::Future, io, ops::Range, sync::Arc, time::Duration};

use futures_util::{TryStreamExt, stream::BoxStream};
use object_store::{
    Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload, multipart::MultipartStore,
    multipart::PartId, path::Path, signer::Signer,
};
use registry_types::ObjectKey;
use url::Url;

use super::{
    numbered::CompleteNumbered,
    state::{Multipart, Part},
};
use crate::BlobError;

type Answer<T> = Result<T, RemoteError>;

/// Time for a request that moves no bytes of a blob.
const REQUEST_TIME: Duration = Duration::from_secs(20);

/// Time for the object store to put an upload together: S3 may work on ten thousand parts for minutes ("Complete
/// MultipartUpload", Amazon S3 API reference).
const COMPLETE_TIME: Duration = Duration::from_secs(300);

/// An upload's bytes get one second more for so many: a link slower than this carries no registry.
const SLOWEST_UPLOAD: u64 = 256 << 10;

/// Times a request is made when the client library has given up on it, which makes it again itself while it gets
/// no connection or a 5xx: here come answers that were cut and requests that hung.
const ATTEMPTS: u32 = 2;

/// Longest part of a failure's text that is told: object stores answer in pages of XML.
const TOLD: usize = 400;

/// One bucket, or a folder of it. Clones share connections.
#[derive(Clone)]
pub(super) struct Remote {
    objects: Arc<dyn ObjectStore>,
    multiparts: Arc<dyn MultipartStore>,
    /// Where parts are told apart by their numbers. `None`: by what is answered for each alone.
    numbered: Option<Arc<dyn CompleteNumbered>>,
    signer: Option<Arc<dyn Signer>>,
    prefix: Path,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum RemoteError {
    /// There is no such object or upload.
    Absent,
    /// The object store is away or overloaded.
    Unavailable(String),
    /// Asking again would not help.
    Refused(Error),
}

/// The bytes of a part of an object, and the length of the whole object.
pub(super) struct Opened {
    pub(super) whole: u64,
    pub(super) bytes: BoxStream<'static, object_store::Result<bytes::Bytes>>,
}

impl Remote {
    pub(super) fn new<S>(
        store: Arc<S>,
        numbered: Option<Arc<dyn CompleteNumbered>>,
        signer: Option<Arc<dyn Signer>>,
        prefix: Path,
    ) -> Self
    where
        S: ObjectStore + MultipartStore,
    {
        Self { objects: store.clone(), multiparts: store, numbered, signer, prefix }
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// Whether the bucket answers.
    pub(super) async fn check(&self) -> Answer<()> {
        let path = self.path("blobs");
        attempts(REQUEST_TIME, || async { self.objects.list_with_delimiter(Some(&path)).await.map(|_| ()) })
            .await
    }

    pub(super) async fn put(&self, key: &ObjectKey, payload: &PutPayload) -> Answer<()> {
        let path = self.path(key.as_str());
        attempts(upload_time(payload), || async {
            self.objects.put(&path, payload.clone()).await.map(|_| ())
        })
        .await
    }

    pub(super) async fn create_multipart(&self, key: ObjectKey) -> Answer<Multipart> {
        let path = self.path(key.as_str());
        let id = attempts(REQUEST_TIME, || self.multiparts.create_multipart(&path)).await?;
        Ok(Multipart { key, id })
    }

    /// Stores a part under a number, counted from 0, and gives what completing needs of it.
    pub(super) async fn put_part(
        &self,
        multipart: &Multipart,
        number: usize,
        payload: &PutPayload,
    ) -> Answer<Part> {
        let path = self.path(multipart.key.as_str());
        let part = attempts(upload_time(payload), || {
            self.multiparts.put_part(&path, &multipart.id, number, payload.clone())
        })
        .await?;
        Ok(Part(number, part.content_id))
    }

    /// Makes the parts the object. [`RemoteError::Absent`] also when an earlier request did that and its answer
    /// was lost.
    pub(super) async fn complete(&self, multipart: &Multipart, parts: &[Part]) -> Answer<()> {
        let path = self.path(multipart.key.as_str());
        let gaps = parts.iter().enumerate().any(|(place, Part(number, _))| place != *number);
        if let (true, Some(numbered)) = (gaps, &self.numbered) {
            return attempts(COMPLETE_TIME, || numbered.complete(&path, &multipart.id, parts)).await;
        }
        attempts(COMPLETE_TIME, || {
            let parts = parts.iter().map(|part| PartId { content_id: part.1.clone() }).collect();
            async { self.multiparts.complete_multipart(&path, &multipart.id, parts).await.map(|_| ()) }
        })
        .await
    }

    /// Forgets a multipart upload, if there is one.
    pub(super) async fn abort(&self, multipart: &Multipart) -> Answer<()> {
        let path = self.path(multipart.key.as_str());
        absent_is_done(attempts(REQUEST_TIME, || self.multiparts.abort_multipart(&path, &multipart.id)).await)
            .map(|_| ())
    }

    /// The length of an object, in bytes.
    pub(super) async fn length(&self, key: &ObjectKey) -> Answer<u64> {
        let path = self.path(key.as_str());
        Ok(attempts(REQUEST_TIME, || self.objects.head(&path)).await?.size)
    }

    /// Begins to read a part of an object that is not empty.
    pub(super) async fn open(&self, key: &ObjectKey, range: Range<u64>) -> Answer<Opened> {
        let path = self.path(key.as_str());
        let opened = attempts(REQUEST_TIME, || {
            let options =
                GetOptions { range: Some(GetRange::Bounded(range.clone())), ..GetOptions::default() };
            self.objects.get_opts(&path, options)
        })
        .await?;
        Ok(Opened { whole: opened.meta.size, bytes: opened.into_stream() })
    }

    /// Removes an object; false when there was none, as far as the object store tells: S3 does not.
    pub(super) async fn delete(&self, key: &ObjectKey) -> Answer<bool> {
        self.delete_path(&self.path(key.as_str())).await
    }

    async fn delete_path(&self, path: &Path) -> Answer<bool> {
        absent_is_done(attempts(REQUEST_TIME, || self.objects.delete(path)).await)
    }

    /// Removes all objects of a folder.
    pub(super) async fn delete_folder(&self, folder: &str) -> Answer<()> {
        let folder = self.path(folder);
        let found: Vec<_> = attempts(REQUEST_TIME, || async {
            self.objects.list(Some(&folder)).map_ok(|object| object.location).try_collect().await
        })
        .await?;
        for path in found {
            self.delete_path(&path).await?;
        }
        Ok(())
    }

    /// A URL that gives the object to whoever has it, for a while; `None` where that cannot be had.
    pub(super) async fn presign(&self, key: &ObjectKey, lifetime: Duration) -> Answer<Option<Url>> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let path = self.path(key.as_str());
        match attempts(REQUEST_TIME, || signer.signed_url(http::Method::GET, &path, lifetime)).await {
            // Credentials that cannot sign, such as a bearer token.
            Err(RemoteError::Refused(error)) => {
                tracing::debug!(%error, "cannot sign a URL");
                Ok(None)
            }
            signed => signed.map(Some),
        }
    }
}

impl fmt::Debug for Remote {
    /// Leaves the client out, which knows credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("store", &format_args!("{}", self.objects))
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl RemoteError {
    /// The failure of `action` on `what`; for an absent object it is one of reading.
    pub(super) fn told(self, action: &'static str, what: &dyn fmt::Display) -> BlobError {
        match self {
            Self::Absent => BlobError::Missing { what: what.to_string() },
            Self::Unavailable(reason) => {
                BlobError::Unavailable { reason: format!("cannot {action} {what}: {reason}") }
            }
            Self::Refused(error) => BlobError::Io {
                action,
                what: what.to_string(),
                source: io::Error::new(io::ErrorKind::PermissionDenied, told(&error)),
            },
        }
    }
}

impl From<Error> for RemoteError {
    fn from(error: Error) -> Self {
        match error {
            // A bucket that is away is no object that was removed.
            Error::NotFound { .. } if error.to_string().contains("NoSuchBucket") => Self::Refused(error),
            Error::NotFound { .. } => Self::Absent,
            Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::InvalidPath { .. }
            | Error::UnknownConfigurationKey { .. } => Self::Refused(error),
            error => Self::Unavailable(told(&error)),
        }
    }
}

/// An error's text and that of its causes, as far as it is worth reading.
pub(super) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn absent_is_done(done: Answer<()>) -> Answer<bool> {
    match done {
        Ok(()) => Ok(true),
        Err(RemoteError::Absent) => Ok(false),
        Err(error) => Err(error),
    }
}

fn upload_time(payload: &PutPayload) -> Duration {
    REQUEST_TIME + Duration::from_secs(payload.content_length() as u64 / SLOWEST_UPLOAD)
}

/// Makes a request, again if the object store was away or silent.
async fn attempts<T, F>(time: Duration, request: impl Fn() -> F) -> Answer<T>
where
    F: Future<Output = object_store::Result<T>>,
{
    let mut attempt = 1;
    loop {
        let failed = match tokio::time::timeout(time, request()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => RemoteError::from(error),
            Err(_) => RemoteError::Unavailable(format!("no answer for {} seconds", time.as_secs())),
        };
        if attempt == ATTEMPTS || !matches!(failed, RemoteError::Unavailable(_)) {
            return Err(failed);
        }
        attempt += 1;
    }
}
