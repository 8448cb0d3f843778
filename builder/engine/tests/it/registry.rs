//! A registry in memory that notes every request.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use builder_output::BuiltImage;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use registry_types::{Digest, ImageReference, MediaType};

#[derive(Default)]
struct State {
    /// Whatever is asked for, by its path behind `/v2/`.
    content: HashMap<String, (Bytes, String)>,
    requests: Vec<String>,
    layers: Vec<Digest>,
    /// What is denied: paths with this in them.
    refused: Option<&'static str>,
}

#[derive(Clone)]
pub(crate) struct Registry {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self { state: Arc::default(), address: listener.local_addr().unwrap() };
        let server = registry.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        let server = server.clone();
                        async move { Ok::<_, Infallible>(server.answer(request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        registry
    }

    pub(crate) fn name(&self, rest: &str) -> ImageReference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn put(&self, repository: &str, tag: &str, image: &BuiltImage, layers: &[Vec<u8>]) {
        let mut state = self.state.lock().unwrap();
        state.put_blob(repository, image.config.clone());
        for layer in layers {
            let digest = state.put_blob(repository, layer.clone().into());
            state.layers.push(digest);
        }
        state.put_manifest(repository, tag, image.manifest.clone());
    }

    /// Denies whatever has `part` in its path, and nothing else.
    pub(crate) fn refuse(&self, part: &'static str) {
        self.state.lock().unwrap().refused = Some(part);
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    /// How often a layer was sent.
    pub(crate) fn layers_sent(&self) -> usize {
        let state = self.state.lock().unwrap();
        let is_layer = |line: &str| state.layers.iter().any(|digest| line.contains(&digest.to_string()));
        state.requests.iter().filter(|line| line.starts_with("GET") && is_layer(line)).count()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().trim_start_matches("/v2/").to_owned();
        let query = parts.uri.query().unwrap_or_default().replace("%3A", ":").replace("%2F", "/");
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        let mut state = self.state.lock().unwrap();
        state.requests.push(format!("{} {}", parts.method, parts.uri));
        let respond = |status: StatusCode| Response::builder().status(status);
        if state.refused.is_some_and(|part| path.contains(part)) {
            return respond(StatusCode::FORBIDDEN).body(Full::default()).unwrap();
        }
        if path.is_empty() {
            return respond(StatusCode::OK).body(Full::default()).unwrap();
        }
        if let Some((content, media_type)) = state.content.get(&path) {
            let found = respond(StatusCode::OK)
                .header("content-type", media_type)
                .header("content-length", content.len())
                .header("docker-content-digest", Digest::sha256(content).to_string());
            let content = if parts.method == Method::HEAD { Bytes::new() } else { content.clone() };
            return found.body(Full::new(content)).unwrap();
        }
        if let (&Method::PUT, Some((repository, tag))) = (&parts.method, path.split_once("/manifests/")) {
            let digest = state.put_manifest(repository, tag, body);
            let created = respond(StatusCode::CREATED).header("docker-content-digest", digest.to_string());
            return created.body(Full::default()).unwrap();
        }
        let Some((repository, _)) = path.split_once("/blobs/uploads/") else {
            return respond(StatusCode::NOT_FOUND).body(Full::default()).unwrap();
        };
        if let (Some(digest), Some(from)) = (parameter("mount"), parameter("from"))
            && let Some((content, _)) = state.content.get(&format!("{from}/blobs/{digest}")).cloned()
        {
            let digest = state.put_blob(repository, content);
            let created = respond(StatusCode::CREATED).header("docker-content-digest", digest.to_string());
            return created.header("location", "/blob").body(Full::default()).unwrap();
        }
        if parts.method == Method::PUT {
            let digest = state.put_blob(repository, body);
            let created = respond(StatusCode::CREATED).header("docker-content-digest", digest.to_string());
            return created.header("location", "/blob").body(Full::default()).unwrap();
        }
        let location = format!("/v2/{repository}/blobs/uploads/1");
        respond(StatusCode::ACCEPTED).header("location", location).body(Full::default()).unwrap()
    }
}

impl State {
    fn put_blob(&mut self, repository: &str, content: Bytes) -> Digest {
        let digest = Digest::sha256(&content);
        let media_type = "application/octet-stream".to_owned();
        self.content.insert(format!("{repository}/blobs/{digest}"), (content, media_type));
        digest
    }

    fn put_manifest(&mut self, repository: &str, tag: &str, content: Bytes) -> Digest {
        let digest = Digest::sha256(&content);
        for name in [tag.to_owned(), digest.to_string()] {
            let media_type = MediaType::OCI_MANIFEST.to_owned();
            self.content.insert(format!("{repository}/manifests/{name}"), (content.clone(), media_type));
        }
        digest
    }
}
