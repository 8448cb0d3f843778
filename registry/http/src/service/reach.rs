//! Every kind of route with every method, from callers without the right: none gets past the refusal, and nothing
//! that was there has changed afterwards. The kinds come from [`Route`] itself: a new one does not compile until
//! it has its place here.

use std::{net::SocketAddr, time::SystemTime};

use registry_auth::{Account, Issuer, KeyStore, Verifier, decide, parse_scopes};
use registry_blobs::LocalBlobs;
use registry_core::Limits;
use registry_metadata::SqliteMetadata;
use registry_types::{Digest, RepositoryName, UploadId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{HttpSettings, Monitoring, TokenServer, serve};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "LOCK"];
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// What the repository `team/app` holds.
struct Content {
    manifest: String,
    config: Digest,
    session: UploadId,
}

impl Content {
    fn name() -> RepositoryName {
        "team/app".parse().expect("a name")
    }

    fn digest(&self) -> Digest {
        Digest::sha256(self.manifest.as_bytes())
    }

    /// The kind of route behind `route`, about what is there; the base is the first.
    fn next(&self, route: &Route) -> Option<Route> {
        Some(match route {
            Route::Base => Route::Catalog,
            Route::Catalog => Route::Tags(Self::name()),
            Route::Tags(_) => Route::Manifest(Self::name(), "1".parse().expect("a tag")),
            Route::Manifest(..) => Route::Blob(Self::name(), self.config),
            Route::Blob(..) => Route::Uploads(Self::name()),
            Route::Uploads(_) => Route::Upload(Self::name(), self.session),
            Route::Upload(..) => Route::Referrers(Self::name(), self.digest()),
            Route::Referrers(..) => Route::Token,
            Route::Token => Route::Keys,
            Route::Keys => Route::Live,
            Route::Live => Route::Ready,
            Route::Ready => Route::Metrics,
            Route::Metrics => return None,
        })
    }

    fn routes(&self) -> Vec<Route> {
        std::iter::successors(Some(Route::Base), |route| self.next(route)).collect()
    }
}

/// The routes that documentation names as open to everyone; the metrics only where the operator says so, as here.
fn is_open(route: &Route) -> bool {
    matches!(route, Route::Token | Route::Keys | Route::Live | Route::Ready | Route::Metrics)
}

struct Server {
    address: SocketAddr,
    issuer: Issuer,
    keys: KeyStore,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyStore::open_blocking(&folder.path().join("keys"), SystemTime::now()).expect("keys");
        let issuer = || Issuer::new("test", "test", Duration::from_secs(300));
        let verifier = Verifier::new("test", "test", keys.ring().trusted());
        let tokens =
            TokenServer::new(issuer(), keys.ring().signing(), verifier, None).expect("a token server");
        let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).expect("a database");
        let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.expect("a store");
        let registry = Registry::new(metadata, blobs, Limits::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let authenticator = Authenticator::token_server(tokens);
        let (settings, stop) = (HttpSettings::default(), CancellationToken::new());
        let monitoring = Monitoring { metrics_on_main: true, ..Monitoring::default() };
        tokio::spawn(serve(listener, registry, authenticator, None, monitoring, settings, stop));
        Self { address, issuer: issuer(), keys, _folder: folder }
    }

    /// `Authorization` with a token for `scopes`, given without rules as to an administrator.
    fn token(&self, scopes: &str) -> String {
        let name = "root".parse().expect("a name");
        let granted = decide(Some(Account { name: &name, admin: true }), &[], &parse_scopes([scopes]));
        let identity = registry_auth::Identity::named("root");
        let issued = self
            .issuer
            .issue_blocking(&self.keys.ring().signing(), &identity, &granted, SystemTime::now())
            .expect("a token");
        format!("Authorization: Bearer {}\r\n", issued.token().expose())
    }

    /// Status and head of the answer.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {MANIFEST_TYPE}\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("it listens");
        let mut answer = Vec::new();
        // A refused body may end in a reset behind the answer.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("{method} {path}: {answer:?}")), answer)
    }

    async fn fill(&self, owner: &str) -> Content {
        let config = Digest::sha256(b"{}");
        let path = format!("/v2/team/app/blobs/uploads/?digest={config}");
        assert_eq!(self.ask("POST", &path, owner, "{}").await.0, 201);
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{config}","size":2}},"layers":[]}}"#
        );
        assert_eq!(self.ask("PUT", "/v2/team/app/manifests/1", owner, &manifest).await.0, 201);
        let (_, started) = self.ask("POST", "/v2/team/app/blobs/uploads/", owner, "").await;
        let session = started.lines().find_map(|line| line.strip_prefix("docker-upload-uuid: "));
        let session = session.expect("a session has an id").trim().parse().expect("an id");
        Content { manifest, config, session }
    }
}

#[tokio::test]
async fn no_handler_is_reached_without_the_right() {
    let server = Server::start().await;
    let owner = server.token("repository:team/app:*");
    let content = server.fill(&owner).await;
    let other = server.token("repository:team/other:* repository:team:*");
    let pull = server.token("repository:team/app:pull");
    let callers = [("nobody", ""), ("a stranger", "Authorization: Bearer a.b.c\r\n"), ("another", &other)];

    let mut refused = 0;
    for route in content.routes() {
        let path = route.path();
        assert_eq!(Route::parse(&path), Ok(route.clone()), "a route is its path");
        for &method in METHODS {
            let known = route.methods().iter().any(|known| known.as_str() == method);
            for (caller, headers) in callers {
                let query =
                    if method == "PUT" { format!("?digest={}", content.config) } else { String::new() };
                let (status, head) = server.ask(method, &format!("{path}{query}"), headers, "{}").await;
                let has_token = caller == "another";
                let expected = match method {
                    "OPTIONS" if has_token => 200,
                    "OPTIONS" => 401,
                    _ if !known => 405,
                    _ if is_open(&route) => {
                        assert_ne!(status, 405, "{method} {path}");
                        continue;
                    }
                    // It says only that the token is good.
                    _ if has_token && route == Route::Base => 200,
                    _ => 401,
                };
                assert_eq!(status, expected, "{method} {path} for {caller}: {head}");
                refused += usize::from(status == 401);
                assert_eq!(status == 401, head.to_lowercase().contains("www-authenticate: bearer"), "{head}");
            }
            // Who may read may only read.
            let reads = method == "GET" || method == "HEAD" || method == "OPTIONS";
            if known && !reads && !is_open(&route) {
                assert_eq!(
                    server.ask(method, &path, &pull, "{}").await.0,
                    401,
                    "{method} {path} with pull alone"
                );
            }
        }
    }
    assert!(refused > 60, "only {refused} refusals: which routes were asked for?");

    // All as it was; and with the right these are no refusals.
    for (method, path, status) in [
        ("GET", "/v2/team/app/manifests/1".to_owned(), 200),
        ("GET", format!("/v2/team/app/blobs/{}", content.config), 200),
        ("GET", format!("/v2/team/app/blobs/uploads/{}", content.session), 204),
        ("GET", "/v2/team/app/tags/list".to_owned(), 200),
        ("GET", "/v2/_catalog".to_owned(), 401),
    ] {
        let (got, answer) = server.ask(method, &path, &owner, "").await;
        assert_eq!(got, status, "{method} {path}: {answer}");
        if path.ends_with("manifests/1") {
            assert!(answer.ends_with(&content.manifest), "{answer}");
        }
        if path.ends_with("tags/list") {
            assert!(answer.ends_with(r#"{"name":"team/app","tags":["1"]}"#), "{answer}");
        }
        if status == 204 {
            assert!(answer.contains("upload-offset: 0"), "{answer}");
        }
    }
}
