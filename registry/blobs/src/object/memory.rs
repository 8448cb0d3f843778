//! An object store in memory that keeps to S3's rules for parts: completing takes the parts that are named, by what
//! was answered for them, and an upload is gone once it is completed or aborted. Requests can be made to fail.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    memory::InMemory,
    multipart::{MultipartStore, PartId},
    path::Path,
    signer::Signer,
};
use url::Url;

use super::{numbered::CompleteNumbered, session::lock, state::Part};

type Parts = HashMap<usize, (String, Bytes)>;

/// The store; several [`ObjectBlobs`](super::ObjectBlobs) may share one, as replicas do.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: InMemory,
    uploads: Mutex<HashMap<String, Parts>>,
    answers: AtomicUsize,
    /// Runs before a request; what it gives is the request's failure.
    fault: Mutex<Option<Fault>>,
    lose_answers_of: Mutex<Option<&'static str>>,
}

struct Fault(Box<dyn Fn(&'static str) -> bool + Send + Sync>);

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fault")
    }
}

impl MemoryStore {
    /// Makes requests fail for which `fault` says so.
    pub fn fail(&self, fault: impl Fn(&'static str) -> bool + Send + Sync + 'static) {
        *lock(&self.fault) = Some(Fault(Box::new(fault)));
    }

    /// Loses the answers of requests of this name, after they were carried out.
    pub fn lose_answers_of(&self, request: &'static str) {
        *lock(&self.lose_answers_of) = Some(request);
    }

    /// Ends all faults.
    pub fn mend(&self) {
        *lock(&self.fault) = None;
        *lock(&self.lose_answers_of) = None;
    }

    /// Multipart uploads that were neither completed nor aborted.
    pub fn multiparts(&self) -> usize {
        lock(&self.uploads).len()
    }

    /// The keys of all objects.
    ///
    /// # Panics
    /// Never: it is all in memory.
    pub async fn objects(&self) -> Vec<String> {
        use futures_util::TryStreamExt;
        let listed: Vec<ObjectMeta> = self.objects.list(None).try_collect().await.expect("in memory");
        listed.into_iter().map(|object| object.location.to_string()).collect()
    }

    fn begin(&self, request: &'static str) -> Result<()> {
        if lock(&self.fault).as_ref().is_some_and(|fault| (fault.0)(request)) {
            Err(away(request))
        } else {
            Ok(())
        }
    }

    fn end<T>(&self, request: &'static str, answer: T) -> Result<T> {
        if *lock(&self.lose_answers_of) == Some(request) { Err(away(request)) } else { Ok(answer) }
    }

    fn answer(&self) -> String {
        self.answers.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

fn away(request: &'static str) -> Error {
    Error::Generic { store: "memory", source: format!("{request} was made to fail").into() }
}

fn absent(path: &Path) -> Error {
    Error::NotFound { path: path.to_string(), source: "no such upload".into() }
}

impl fmt::Display for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.begin("put")?;
        let put = self.objects.put_opts(path, payload, options).await?;
        self.end("put", put)
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.begin("get")?;
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.begin("list")?;
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        panic!("an object was copied")
    }
}

#[async_trait]
impl MultipartStore for MemoryStore {
    async fn create_multipart(&self, _: &Path) -> Result<MultipartId> {
        self.begin("create")?;
        let id = self.answer();
        lock(&self.uploads).insert(id.clone(), Parts::new());
        self.end("create", id)
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        index: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        self.begin("part")?;
        // Parts that are stored at once end in any order.
        for _ in 0..index % 3 {
            tokio::task::yield_now().await;
        }
        let answer = self.answer();
        let part = (answer.clone(), Bytes::from(data));
        lock(&self.uploads).get_mut(id).ok_or_else(|| absent(path))?.insert(index, part);
        self.end("part", PartId { content_id: answer })
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let parts: Vec<_> =
            parts.into_iter().enumerate().map(|(number, part)| Part(number, part.content_id)).collect();
        self.complete_parts(path, id, &parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.begin("abort")?;
        lock(&self.uploads).remove(id).map(|_| ()).ok_or_else(|| absent(path))
    }
}

impl MemoryStore {
    async fn complete_parts(&self, path: &Path, id: &str, parts: &[Part]) -> Result<PutResult> {
        self.begin("complete")?;
        let mut upload = lock(&self.uploads).remove(id).ok_or_else(|| absent(path))?;
        let mut whole = Vec::new();
        for Part(number, answer) in parts {
            let stored = upload.get_mut(number).filter(|stored| stored.0 == *answer);
            let Some((_, bytes)) = stored else {
                lock(&self.uploads).insert(id.to_owned(), upload);
                return Err(Error::Generic { store: "memory", source: "invalid part".into() });
            };
            whole.extend_from_slice(&mem::take(bytes));
        }
        let put = self.objects.put(path, whole.into()).await?;
        self.end("complete", put)
    }
}

/// Where its signed URLs lead: nowhere.
const SIGNED: &str = "http://objects.invalid";

#[async_trait]
impl Signer for MemoryStore {
    async fn signed_url(&self, method: http::Method, path: &Path, expires_in: Duration) -> Result<Url> {
        let url = format!("{SIGNED}/{path}?method={method}&seconds={}", expires_in.as_secs());
        url.parse().map_err(|error: url::ParseError| Error::Generic { store: "memory", source: error.into() })
    }
}

impl CompleteNumbered for MemoryStore {
    fn complete<'a>(
        &'a self,
        path: &'a Path,
        upload: &'a str,
        parts: &'a [Part],
    ) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move { self.complete_parts(path, upload, parts).await.map(|_| ()) })
    }
}
