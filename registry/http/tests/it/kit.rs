//! A whole server on a free port, and clients that see bytes and frames.

use std::{net::SocketAddr, sync::Arc, time::Duration, time::SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use registry_auth::{Issuer, KeyStore, Verifier};
use registry_blobs::{BlobStore, LocalBlobs, MemoryStore, ObjectBlobs};
use registry_core::{Limits, Registry};
use registry_http::{Authenticator, HttpSettings, Monitoring, TokenServer, serve};
use registry_metadata::SqliteMetadata;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) fn open(_: &TempDir) -> Authenticator {
    Authenticator::open()
}

pub(crate) fn tokens(folder: &TempDir) -> Authenticator {
    let keys = KeyStore::open_blocking(&folder.path().join("keys"), SystemTime::now()).unwrap();
    let issuer = Issuer::new("test", "test", Duration::from_secs(300));
    let verifier = Verifier::new("test", "test", keys.ring().trusted());
    Authenticator::token_server(TokenServer::new(issuer, keys.ring().signing(), verifier, None).unwrap())
}

impl Server {
    /// Serves until the test's runtime ends.
    pub(crate) async fn start(authenticator: fn(&TempDir) -> Authenticator, body_idle: Duration) -> Self {
        Self::start_with(authenticator, HttpSettings { body_idle, ..HttpSettings::default() }).await
    }

    /// The same with settings.
    pub(crate) async fn start_with(
        authenticator: fn(&TempDir) -> Authenticator,
        settings: HttpSettings,
    ) -> Self {
        Self::start_monitored(authenticator, settings, Monitoring::default(), CancellationToken::new()).await
    }

    /// The same with what operators look at, until `stop`.
    pub(crate) async fn start_monitored(
        authenticator: fn(&TempDir) -> Authenticator,
        settings: HttpSettings,
        monitoring: Monitoring,
        stop: CancellationToken,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
        let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.unwrap();
        Self::serving((metadata, blobs), authenticator, settings, (monitoring, stop), folder).await
    }

    /// The same with the blobs in an object store.
    pub(crate) async fn on_objects(objects: &Arc<MemoryStore>, settings: HttpSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
        let (blobs, unmonitored) =
            (ObjectBlobs::in_memory(objects), (Monitoring::default(), CancellationToken::new()));
        Self::serving((metadata, blobs), open, settings, unmonitored, folder).await
    }

    async fn serving<B: BlobStore>(
        (metadata, blobs): (SqliteMetadata, B),
        authenticator: fn(&TempDir) -> Authenticator,
        settings: HttpSettings,
        (monitoring, stop): (Monitoring, CancellationToken),
        folder: TempDir,
    ) -> Self {
        let registry = Registry::new(metadata, blobs, Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, registry, authenticator(&folder), None, monitoring, settings, stop));
        Self { address, folder }
    }

    /// Sends `head` (lines without the last empty one) and `body` by HTTP/1.1 and reads to the end.
    pub(crate) async fn raw(&self, head: &str, body: &[u8]) -> (String, Bytes) {
        raw_at(self.address, head, body).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        assert!(self.folder.path().exists());
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn http2(&self) -> Http2 {
        let io = TokioIo::new(self.connect().await);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        Http2 { sender, connection: tokio::spawn(async move { drop(connection.await) }), at: self.address }
    }
}

pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    /// Ends with the connection.
    pub(crate) connection: JoinHandle<()>,
    at: SocketAddr,
}

impl Http2 {
    pub(crate) async fn ask(&mut self, method: &str, path: &str) -> Answer {
        self.send(method, path, Bytes::new()).await
    }

    pub(crate) async fn send(&mut self, method: &str, path: &str, body: Bytes) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.at))
            .body(Full::new(body))
            .unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a sound body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

/// Bytes that differ at every place, so that a wrong offset shows.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Pushes a blob and gives its path.
pub(crate) async fn push_blob(server: &Server, bytes: &[u8]) -> String {
    let digest = registry_types::Digest::sha256(bytes);
    let request = format!("POST /v2/a/b/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x");
    let (head, _) = server.raw(&request, bytes).await;
    assert!(head.starts_with("http/1.1 201"), "{head}");
    format!("/v2/a/b/blobs/{digest}")
}

/// Pushes a manifest of about `length` bytes as `tag` and gives its bytes.
pub(crate) async fn push_manifest(server: &Server, tag: &str, length: usize) -> String {
    push_blob(server, b"{}").await;
    let config = registry_types::Digest::sha256(b"{}");
    let filler = "x".repeat(length);
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[],"annotations":{{"filler":"{filler}"}}}}"#
    );
    let request = format!(
        "PUT /v2/a/b/manifests/{tag} HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.oci.image.manifest.v1+json"
    );
    let (head, _) = server.raw(&request, manifest.as_bytes()).await;
    assert!(head.starts_with("http/1.1 201"), "{head}");
    manifest
}

/// As [`Server::raw`], to any address.
pub(crate) async fn raw_at(address: SocketAddr, head: &str, body: &[u8]) -> (String, Bytes) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let head = format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    (head, Bytes::from(answer).slice(end + 4..))
}
