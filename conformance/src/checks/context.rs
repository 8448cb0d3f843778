//! What checks share: a session, names of their own, and the plain steps of pushing.

use bytes::Bytes;
use registry_types::{Algorithm, Digest, MediaType};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Answer, ClientError, Request, Session};

/// What a check found instead of what it asked for.
#[derive(Debug)]
pub(crate) enum Finding {
    Failed(String),
    /// The question does not arise here, and why.
    Skipped(&'static str),
}

impl From<String> for Finding {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

impl From<ClientError> for Finding {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}

pub(crate) type Verdict<T = ()> = Result<T, Finding>;

/// Content with its digest.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

impl Content {
    pub(crate) fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::sha256(&bytes), bytes }
    }

    /// The same bytes under another algorithm's digest.
    pub(crate) fn by(self, algorithm: Algorithm) -> Self {
        Self { digest: Digest::of(algorithm, &self.bytes), bytes: self.bytes }
    }

    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

#[derive(Debug)]
pub(crate) struct Context {
    session: Session,
    /// Where the repositories of this run are: `PREFIX/RUN`.
    place: String,
}

impl Context {
    pub(crate) fn new(session: Session, prefix: &str) -> Self {
        let run = Uuid::new_v4().simple().to_string();
        Self { session, place: format!("{prefix}/{}", run.get(..12).unwrap_or(&run)) }
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// A repository of the check that is called `check`.
    pub(crate) fn repository(&self, check: &str) -> String {
        format!("{}/{check}", self.place)
    }

    /// Bytes that no other run and no other label has, however few.
    pub(crate) fn content(&self, label: &str, length: usize) -> Content {
        let seed = Digest::sha256(format!("{} {label}", self.place).as_bytes());
        let letters = seed.hex().into_bytes();
        let bytes = letters.iter().cycle().zip(0..length).map(|(letter, place)| letter ^ (place >> 8) as u8);
        Content::new(bytes.collect::<Vec<u8>>())
    }

    pub(crate) async fn send(&self, request: Request) -> Verdict<Answer> {
        Ok(self.session.send(&request).await?)
    }

    /// Starts an upload and gives its location.
    pub(crate) async fn start_upload(&self, repository: &str) -> Verdict<String> {
        let answer = self.send(Request::post(format!("/v2/{repository}/blobs/uploads/"))).await?;
        Ok(location(&answer.expect(&[202])?)?)
    }

    /// Appends a chunk that begins at `start`.
    pub(crate) async fn append(&self, location: &str, start: usize, chunk: Bytes) -> Verdict<Answer> {
        self.send(chunk_request(location, start, chunk)).await
    }

    /// Ends an upload.
    pub(crate) async fn complete(&self, location: &str, digest: &Digest) -> Verdict<Answer> {
        self.send(Request::put(with_query(location, &format!("digest={digest}")))).await
    }

    /// Pushes a blob by POST and PUT.
    pub(crate) async fn push_blob(&self, repository: &str, blob: &Content) -> Verdict<Answer> {
        let location = self.start_upload(repository).await?;
        let request = Request::put(with_query(&location, &format!("digest={}", blob.digest)));
        let request = request.header("content-type", "application/octet-stream").body(blob.bytes.clone());
        Ok(self.send(request).await?.expect(&[201])?)
    }

    /// Whether the repository has the blob.
    pub(crate) async fn has_blob(&self, repository: &str, digest: &Digest) -> Verdict<bool> {
        let answer = self.send(Request::head(format!("/v2/{repository}/blobs/{digest}"))).await?;
        Ok(answer.expect(&[200, 404])?.status == 200)
    }

    pub(crate) async fn get_blob(&self, repository: &str, digest: &Digest) -> Verdict<Answer> {
        self.send(Request::get(format!("/v2/{repository}/blobs/{digest}"))).await
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &Bytes,
    ) -> Verdict<Answer> {
        let request = Request::put(format!("/v2/{repository}/manifests/{reference}"));
        self.send(request.header("content-type", media_type).body(bytes.clone())).await
    }

    /// Asks for a manifest as clients do: with every type they know.
    pub(crate) async fn get_manifest(&self, repository: &str, reference: &str) -> Verdict<Answer> {
        self.send(manifest_request(Request::get(format!("/v2/{repository}/manifests/{reference}")))).await
    }

    /// An image manifest whose config and one layer are in the repository.
    pub(crate) async fn image(&self, repository: &str, label: &str) -> Verdict<Content> {
        let config = Content::new(format!("{{\"comment\":\"{repository} {label}\"}}"));
        let layer = self.content(&format!("{repository} {label}"), 700);
        self.push_blob(repository, &config).await?;
        self.push_blob(repository, &layer).await?;
        Ok(image_manifest(&config, &[&layer], json!({})))
    }

    /// Pushes an image under a tag.
    pub(crate) async fn push_image(&self, repository: &str, tag: &str) -> Verdict<Content> {
        let manifest = self.image(repository, tag).await?;
        let answer = self.put_manifest(repository, tag, MediaType::OCI_MANIFEST, &manifest.bytes).await?;
        answer.expect(&[201])?;
        Ok(manifest)
    }
}

/// An OCI image manifest with further fields.
pub(crate) fn image_manifest(config: &Content, layers: &[&Content], fields: Value) -> Content {
    let layers: Vec<Value> = layers.iter().map(|layer| layer.descriptor(MediaType::OCI_LAYER)).collect();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": config.descriptor(MediaType::OCI_CONFIG),
        "layers": layers,
    });
    if let (Some(manifest), Value::Object(fields)) = (manifest.as_object_mut(), fields) {
        manifest.extend(fields);
    }
    Content::new(manifest.to_string())
}

/// A chunk with the `Content-Range` of the specification.
pub(crate) fn chunk_request(location: &str, start: usize, chunk: Bytes) -> Request {
    let range = format!("{start}-{}", (start + chunk.len()).saturating_sub(1));
    let request = Request::patch(location).header("content-type", "application/octet-stream");
    request.header("content-range", range).body(chunk)
}

/// Adds the manifest types that clients know to a request.
pub(crate) fn manifest_request(request: Request) -> Request {
    let types = [
        MediaType::OCI_MANIFEST,
        MediaType::OCI_INDEX,
        MediaType::DOCKER_MANIFEST,
        MediaType::DOCKER_MANIFEST_LIST,
        "*/*",
    ];
    request.header("accept", types.join(", "))
}

/// The `Location` of an answer.
pub(crate) fn location(answer: &Answer) -> Result<String, String> {
    answer.required("location").map(str::to_owned)
}

/// Adds a parameter to a location that may have some already.
pub(crate) fn with_query(location: &str, parameter: &str) -> String {
    format!("{location}{}{parameter}", if location.contains('?') { '&' } else { '?' })
}
