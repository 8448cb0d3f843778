//! A registry in memory, with as much of the distribution specification as a push needs. It refuses a manifest whose
//! blobs it does not hold, and notes every request.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use registry_types::{Digest, ImageReference, ManifestView, MediaType};

#[derive(Default)]
struct State {
    /// By repository and digest.
    blobs: HashMap<(String, Digest), Bytes>,
    manifests: HashMap<String, Bytes>,
    requests: Vec<String>,
    refuse_mounts: bool,
    refused_tags: HashSet<String>,
}

#[derive(Clone)]
pub(crate) struct Registry {
    state: Arc<Mutex<State>>,
    address: std::net::SocketAddr,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Self { state: Arc::default(), address: listener.local_addr().unwrap() };
        let server = registry.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = server.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
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

    pub(crate) fn hold(&self, repository: &str, content: &str) {
        let digest = Digest::sha256(content.as_bytes());
        let content = Bytes::copy_from_slice(content.as_bytes());
        self.state.lock().unwrap().blobs.insert((repository.to_owned(), digest), content);
    }

    pub(crate) fn refuse_mounts(&self) {
        self.state.lock().unwrap().refuse_mounts = true;
    }

    pub(crate) fn refuse_tag(&self, tag: &str) {
        self.state.lock().unwrap().refused_tags.insert(tag.to_owned());
    }

    pub(crate) fn holds(&self, repository: &str, digest: &Digest) -> bool {
        self.state.lock().unwrap().blobs.contains_key(&(repository.to_owned(), *digest))
    }

    pub(crate) fn manifest(&self, name: &str) -> Option<Bytes> {
        self.state.lock().unwrap().manifests.get(name).cloned()
    }

    /// How many requests had this method and a path with this in it.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|line| line.starts_with(method) && line.contains(part)).count()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().trim_start_matches("/v2/").to_owned();
        let url = url::Url::parse(&format!("http://localhost{}", parts.uri)).unwrap();
        let query: HashMap<String, String> =
            url.query_pairs().map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
        let mut state = self.state.lock().unwrap();
        state.requests.push(format!("{} {}", parts.method, parts.uri));
        if let Some((repository, rest)) = path.split_once("/blobs/") {
            return state.blob(&parts.method, repository, rest, &query, body);
        }
        if let Some((repository, tag)) = path.split_once("/manifests/") {
            let media_type = parts.headers.get("content-type").unwrap().to_str().unwrap().parse().unwrap();
            return state.put_manifest(repository, tag, body, &media_type);
        }
        status(StatusCode::OK).body(Full::default()).unwrap()
    }
}

fn status(code: StatusCode) -> hyper::http::response::Builder {
    Response::builder().status(code)
}

impl State {
    fn blob(
        &mut self,
        method: &Method,
        repository: &str,
        rest: &str,
        query: &HashMap<String, String>,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        let key = |digest: &str| (repository.to_owned(), digest.parse::<Digest>().unwrap());
        let created = |digest: &str| {
            let created = status(StatusCode::CREATED).header("docker-content-digest", digest);
            created.header("location", "/blob").body(Full::default()).unwrap()
        };
        match (method, query.get("mount").zip(query.get("from")), query.get("digest")) {
            (&Method::HEAD | &Method::GET, ..) => match self.blobs.get(&key(rest)) {
                Some(content) => {
                    let found = status(StatusCode::OK).header("content-length", content.len());
                    let content = if method == Method::GET { content.clone() } else { Bytes::new() };
                    found.body(Full::new(content)).unwrap()
                }
                None => status(StatusCode::NOT_FOUND).body(Full::default()).unwrap(),
            },
            (&Method::POST, Some((digest, from)), _)
                if !self.refuse_mounts
                    && self.blobs.contains_key(&(from.clone(), digest.parse().unwrap())) =>
            {
                let content = self.blobs[&(from.clone(), digest.parse().unwrap())].clone();
                self.blobs.insert(key(digest), content);
                created(digest)
            }
            (&Method::POST, ..) => {
                let location = format!("/v2/{repository}/blobs/uploads/1");
                status(StatusCode::ACCEPTED).header("location", location).body(Full::default()).unwrap()
            }
            (&Method::PUT, _, Some(digest)) if Digest::sha256(&body) == digest.parse().unwrap() => {
                self.blobs.insert(key(digest), body);
                created(digest)
            }
            (&Method::DELETE, ..) => status(StatusCode::NO_CONTENT).body(Full::default()).unwrap(),
            _ => status(StatusCode::BAD_REQUEST).body(Full::default()).unwrap(),
        }
    }

    fn put_manifest(
        &mut self,
        repository: &str,
        tag: &str,
        body: Bytes,
        media_type: &MediaType,
    ) -> Response<Full<Bytes>> {
        let view = ManifestView::parse(&body, Some(media_type)).unwrap();
        let held = |digest| self.blobs.contains_key(&(repository.to_owned(), digest));
        if self.refused_tags.contains(tag) || !view.required_blobs().iter().all(|blob| held(blob.digest)) {
            return status(StatusCode::BAD_REQUEST).body(Full::default()).unwrap();
        }
        let digest = Digest::sha256(&body).to_string();
        self.manifests.insert(format!("{repository}:{tag}"), body);
        status(StatusCode::CREATED).header("docker-content-digest", digest).body(Full::default()).unwrap()
    }
}
