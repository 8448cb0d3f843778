//! The server that a table is run against, what is in it, and how rows are made and checked.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use registry_types::Digest;
use serde_json::{Value, json};
use slipway_tests::{
    http::{Answer, Server},
    signer::Signer,
};

pub(super) const SERVICE: &str = "container_registry";
/// The image that honest tokens of the table may do everything with.
pub(super) const IMAGE: &str = "/v2/team/app/manifests/1";
/// One that they may not even see.
pub(super) const SECRET: &str = "/v2/team/secret/manifests/1";

/// A server with both images, the key it trusts, and a key it does not.
pub(super) struct World {
    server: Server,
    pub(super) key: Signer,
    pub(super) stranger: Signer,
    pub(super) issuer: &'static str,
    /// The config and only blob of each image.
    pub(super) blob: Digest,
    pub(super) secret_blob: Digest,
    pub(super) secret_manifest: Digest,
    /// The id of an upload session in the secret repository.
    pub(super) secret_upload: String,
}

/// A request, byte for byte.
pub(super) struct Request {
    method: &'static str,
    target: Vec<u8>,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn new(method: &'static str, target: impl AsRef<[u8]>) -> Self {
        Self { method, target: target.as_ref().to_vec(), headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    pub(super) fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    pub(super) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }
}

type Make = Box<dyn Fn(&World) -> Result<Request>>;

/// A request and the status it must get.
pub(super) struct Row {
    pub(super) name: String,
    expected: u16,
    make: Make,
}

/// The rows of a table as they are added.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    pub(super) fn into_vec(self) -> Vec<Row> {
        self.0
    }

    pub(super) fn request(
        &mut self,
        name: impl Into<String>,
        expected: u16,
        make: impl Fn(&World) -> Result<Request> + 'static,
    ) {
        self.0.push(Row { name: name.into(), expected, make: Box::new(make) });
    }

    /// A pull of the image with a token.
    pub(super) fn token(
        &mut self,
        name: &str,
        expected: u16,
        make: impl Fn(&World) -> Result<String> + 'static,
    ) {
        self.request(name, expected, move |world| Ok(Request::new("GET", IMAGE).bearer(&make(world)?)));
    }

    /// The same with a token whose header was changed before it was signed.
    pub(super) fn header(&mut self, name: &str, expected: u16, change: impl Fn(&mut Value) + 'static) {
        self.token(name, expected, move |world| {
            let mut header = world.key.header();
            change(&mut header);
            world.key.sign(&header.to_string(), &world.claims().to_string())
        });
    }

    /// The same with a token whose claims were changed before it was signed; `now` is in seconds.
    pub(super) fn claims(&mut self, name: &str, expected: u16, change: impl Fn(&mut Value, u64) + 'static) {
        self.token(name, expected, move |world| {
            let mut claims = world.claims();
            change(&mut claims, now());
            world.sign(&claims)
        });
    }

    /// The same with one claim set.
    pub(super) fn claim(&mut self, name: &str, expected: u16, claim: &'static str, value: Value) {
        self.claims(name, expected, move |claims, _| claims[claim] = value.clone());
    }

    /// The same with another list of rights.
    pub(super) fn access(&mut self, name: &str, expected: u16, access: Value) {
        self.claim(name, expected, "access", access);
    }
}

/// An entry of the access list.
pub(super) fn entry(kind: &str, name: &str, actions: &[&str]) -> Value {
    json!({"type": kind, "name": name, "actions": actions})
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn manifest(config: &Digest, size: usize) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
        "layers": [],
    })
    .to_string()
}

impl World {
    pub(super) fn new(server: Server, key: Signer, issuer: &'static str) -> Result<Self> {
        let (config, secret) = (b"{}", br#"{"author":"secret"}"#);
        let secret_blob = Digest::sha256(secret);
        let secret_manifest = manifest(&secret_blob, secret.len());
        let mut world = Self {
            server,
            key,
            stranger: Signer::generate()?,
            issuer,
            blob: Digest::sha256(config),
            secret_blob,
            secret_manifest: Digest::sha256(secret_manifest.as_bytes()),
            secret_upload: String::new(),
        };
        for (repository, blob) in [("team/app", &config[..]), ("team/secret", secret)] {
            let all = world.token_for(&[entry("repository", repository, &["*"])])?;
            let digest = Digest::sha256(blob);
            let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
            world.expect(&Request::new("POST", path).bearer(&all).body(blob), 201)?;
            let path = format!("/v2/{repository}/manifests/1");
            let manifest = manifest(&digest, blob.len());
            world.expect(&put(&path, &manifest).bearer(&all), 201)?;
            let path = format!("/v2/{repository}/blobs/uploads/");
            let answer = world.expect(&Request::new("POST", path).bearer(&all), 202)?;
            let location = answer.header("location").context("a session has a Location")?;
            world.secret_upload = location.rsplit('/').next().map(str::to_owned).unwrap_or_default();
        }
        Ok(world)
    }

    /// The claims of an honest token for everything in `team/app`.
    pub(super) fn claims(&self) -> Value {
        let now = now();
        json!({
            "iss": self.issuer, "aud": SERVICE, "sub": "anna", "auth_type": "gitlab_or_ldap",
            "iat": now, "nbf": now - 5, "exp": now + 300, "jti": "b7c2",
            "access": [entry("repository", "team/app", &["*"])],
        })
    }

    /// A token of any claims with an honest header and signature.
    pub(super) fn sign(&self, claims: &Value) -> Result<String> {
        self.key.sign(&self.key.header().to_string(), &claims.to_string())
    }

    pub(super) fn token_for(&self, access: &[Value]) -> Result<String> {
        let mut claims = self.claims();
        claims["access"] = access.into();
        self.sign(&claims)
    }

    pub(super) fn good_token(&self) -> Result<String> {
        self.sign(&self.claims())
    }

    /// A manifest that refers to a blob, for `PUT`.
    pub(super) fn manifest_of(blob: &Digest) -> String {
        manifest(blob, 2)
    }

    /// Sends the row's request and compares; a refusal must also be one that clients can act on, and keep the
    /// token to itself.
    pub(super) fn check(&self, row: &Row) -> Result<()> {
        let request = (row.make)(self)?;
        let answer = self.expect(&request, row.expected)?;
        if answer.status == 401 && request.method != "HEAD" {
            let challenge = answer.header("www-authenticate").context("a 401 without a challenge")?;
            ensure!(challenge.starts_with("Bearer realm=\"http"), "the challenge is {challenge}");
            let code = answer.error_code()?;
            ensure!(code == "UNAUTHORIZED" || code == "DENIED", "the code is {code}");
        }
        if answer.status >= 400 {
            let text = format!("{answer:?}");
            for (_, value) in &request.headers {
                let value = String::from_utf8_lossy(value);
                let mut parts = value.split(['.', ' ']).filter(|part| part.len() > 20);
                ensure!(!parts.any(|part| text.contains(part)), "the answer repeats the token");
            }
        }
        Ok(())
    }

    fn expect(&self, request: &Request, status: u16) -> Result<Answer> {
        let answer = self.send(request)?;
        ensure!(answer.status == status, "expected {status}, got {answer:?}");
        Ok(answer)
    }

    fn send(&self, request: &Request) -> Result<Answer> {
        let mut head = Vec::new();
        head.extend_from_slice(request.method.as_bytes());
        head.push(b' ');
        head.extend_from_slice(&request.target);
        head.extend_from_slice(
            format!(" HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.server.0).as_bytes(),
        );
        for (name, value) in &request.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        if !request.body.is_empty() || matches!(request.method, "POST" | "PUT" | "PATCH") {
            head.extend_from_slice(format!("Content-Length: {}\r\n", request.body.len()).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        let mut stream = self.server.connect()?;
        // A server that refuses early reads no further; its answer says why.
        let _ = stream.write_all(&head).and_then(|()| stream.write_all(&request.body));
        Answer::read(&mut stream)
    }
}

/// A push of a manifest.
pub(super) fn put(path: &str, manifest: &str) -> Request {
    Request::new("PUT", path)
        .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest)
}
