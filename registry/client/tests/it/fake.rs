//! A small registry in this process. A test gives it a trick: what to do instead of the right thing.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use registry_client::{Client, ClientBuilder, Credential, Credentials, Repository};
use registry_types::{Descriptor, Digest, MediaType, RegistryHost};
use tokio::net::TcpListener;

mod respond;

use respond::{authorized, respond};

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A request as the registry saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// How many requests with the same method and path (without query) came before.
    pub(crate) nth: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.target.contains(part)
    }
}

/// What to do instead of the right thing.
pub(crate) enum Trick {
    Answer(Answer),
    /// Close the connection without an answer.
    Hang,
    /// Send the right header and only this many bytes of the body.
    CutAnswer(usize),
    /// Send this many bytes of the body and then nothing, with the connection open.
    Stall(usize),
    /// Take this many bytes of the request's body and close the connection.
    CutRequest(usize),
    /// Wait before the right answer.
    Wait(Duration),
    /// Serve the whole blob though a range was asked for.
    IgnoreRange,
    /// Do the right thing, then change the answer.
    Change(fn(&mut Answer)),
    /// Do the right thing and close the connection instead of answering.
    LoseAnswer,
}

type Hook = Box<dyn Fn(&Seen) -> Option<Trick> + Send + Sync>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) blobs: Mutex<HashMap<String, Bytes>>,
    pub(crate) manifests: Mutex<HashMap<String, (String, Bytes)>>,
    pub(crate) uploads: Mutex<HashMap<String, Vec<u8>>>,
    pub(crate) seen: Mutex<Vec<Seen>>,
    pub(crate) tokens: Mutex<HashSet<String>>,
    /// `WWW-Authenticate` for requests without a good token; none means open.
    pub(crate) challenge: Mutex<Option<String>>,
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn answer(status: u16) -> http::response::Builder {
    Response::builder().status(status)
}

pub(crate) fn text(builder: http::response::Builder, body: impl Into<Bytes>) -> Answer {
    builder.body(Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed_unsync()).unwrap()
}

/// Bytes that do not repeat in short.
pub(crate) fn content(length: usize) -> Bytes {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub(crate) fn descriptor(content: &Bytes) -> Descriptor {
    Descriptor::new(
        MediaType::known(MediaType::OCI_LAYER_GZIP),
        Digest::sha256(content),
        content.len() as u64,
    )
}

/// A client for tests: short limits, no environment.
pub(crate) fn builder() -> ClientBuilder {
    Client::builder()
        .credentials(Credentials::none())
        .proxies([])
        .native_authorities(false)
        .host_certificates("/nonexistent")
        .retries(3, Duration::from_millis(5))
        .header_limit(Duration::from_millis(1500))
        .connect_limit(Duration::from_millis(1500))
        .idle_limit(Duration::from_millis(700))
        .commit_limit(Duration::from_secs(3))
}

impl Fake {
    pub(crate) async fn start() -> Self {
        Self::tricky(|_| None).await
    }

    pub(crate) async fn tricky(hook: impl Fn(&Seen) -> Option<Trick> + Send + Sync + 'static) -> Self {
        Self::serve(hook, None).await
    }

    pub(crate) async fn serve(
        hook: impl Fn(&Seen) -> Option<Trick> + Send + Sync + 'static,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let hook: Arc<Hook> = Arc::new(Box::new(hook));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (state, hook, tls) = (Arc::clone(&shared), Arc::clone(&hook), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (state, hook) = (Arc::clone(&state), Arc::clone(&hook));
                        async move { handle(&state, &hook, request).await }
                    });
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(TokioTimer::new());
                    match tls {
                        None => {
                            let _ = http.serve_connection(TokioIo::new(tcp), service).await;
                        }
                        Some(config) => {
                            let accepted = tokio_rustls::TlsAcceptor::from(config).accept(tcp).await;
                            if let Ok(stream) = accepted {
                                let _ = http.serve_connection(TokioIo::new(stream), service).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), state, task }
    }

    pub(crate) fn host(&self) -> RegistryHost {
        self.address.to_string().parse().unwrap()
    }

    /// The same registry by an address that does not count as loopback.
    pub(crate) fn outside(&self) -> RegistryHost {
        format!("0.0.0.0:{}", self.address.port()).parse().unwrap()
    }

    pub(crate) fn repository(&self, client: &Client) -> Repository {
        client.repository_at(self.host(), "root/app".parse().unwrap())
    }

    pub(crate) fn client(&self) -> Repository {
        self.repository(&builder().build().unwrap())
    }

    pub(crate) fn logged_in(&self, builder: ClientBuilder, credential: Credential) -> Repository {
        let credentials = Credentials::none().with(self.host(), credential);
        self.repository(&builder.credentials(credentials).build().unwrap())
    }

    pub(crate) fn hold(&self, content: &Bytes) -> Descriptor {
        let descriptor = descriptor(content);
        self.state.blobs.lock().unwrap().insert(descriptor.digest.to_string(), content.clone());
        descriptor
    }

    pub(crate) fn hold_manifest(&self, name: &str, media_type: &str, content: &str) -> Digest {
        let digest = Digest::sha256(content.as_bytes());
        let entry = (media_type.to_owned(), Bytes::from(content.to_owned()));
        let mut manifests = self.state.manifests.lock().unwrap();
        manifests.insert(name.to_owned(), entry.clone());
        manifests.insert(digest.to_string(), entry);
        digest
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Option<Bytes> {
        self.state.blobs.lock().unwrap().get(&digest.to_string()).cloned()
    }

    /// Asks for a bearer token from `realm`, or from itself.
    pub(crate) fn challenge(&self, realm: Option<&str>) {
        let own = format!("http://{}/token", self.address);
        let realm = realm.unwrap_or(&own);
        let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\"");
        *self.state.challenge.lock().unwrap() = Some(challenge);
    }

    pub(crate) fn seen(&self, method: &str, part: &str) -> Vec<Seen> {
        self.state.seen.lock().unwrap().iter().filter(|seen| seen.is(method, part)).cloned().collect()
    }
}

async fn handle(state: &State, hook: &Hook, request: Request<Incoming>) -> io::Result<Answer> {
    let (parts, mut body) = request.into_parts();
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let seen = {
        let mut all = state.seen.lock().unwrap();
        let path = |target: &str| target.split('?').next().unwrap_or_default().to_owned();
        let same = |seen: &&Seen| seen.method == parts.method && path(&seen.target) == path(&target);
        let nth = all.iter().filter(same).count();
        let seen = Seen { method: parts.method, target, headers: parts.headers, nth };
        all.push(seen.clone());
        seen
    };
    let trick = hook(&seen);
    match &trick {
        Some(Trick::Hang) => return Err(io::Error::other("hang")),
        Some(Trick::Wait(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    if let Some(Trick::Answer(answer)) = trick {
        return Ok(answer);
    }
    let limit = if let Some(Trick::CutRequest(limit)) = trick { limit } else { usize::MAX };
    let mut sent = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        sent.extend_from_slice(&data);
        if sent.len() >= limit {
            sent.truncate(limit);
            break;
        }
    }
    if !authorized(state, &seen) {
        let challenge = state.challenge.lock().unwrap().clone().unwrap();
        return Ok(text(
            answer(401).header(header::WWW_AUTHENTICATE, challenge),
            r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
        ));
    }
    let ranged = !matches!(trick, Some(Trick::IgnoreRange));
    let mut right = respond(state, &seen, sent, ranged);
    match trick {
        Some(Trick::CutRequest(_) | Trick::LoseAnswer) => Err(io::Error::other("cut")),
        Some(Trick::Change(change)) => {
            change(&mut right);
            Ok(right)
        }
        Some(Trick::CutAnswer(length)) => Ok(shortened(right, length, false).await),
        Some(Trick::Stall(length)) => Ok(shortened(right, length, true).await),
        _ => Ok(right),
    }
}

async fn shortened(right: Answer, length: usize, stall: bool) -> Answer {
    let (parts, body) = right.into_parts();
    let mut sent = body.collect().await.unwrap().to_bytes();
    let whole = sent.len();
    sent.truncate(length);
    let pieces = stream::unfold(Some(sent), move |state| async move {
        match state {
            Some(sent) => Some((Ok(Frame::data(sent)), None)),
            None if stall => std::future::pending().await,
            None => {
                // Let what was sent arrive before the connection breaks.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Some((Err(io::Error::other("cut")), None))
            }
        }
    });
    let mut answer = Response::from_parts(parts, StreamBody::new(pieces).boxed_unsync());
    answer.headers_mut().insert(header::CONTENT_LENGTH, whole.into());
    answer
}
