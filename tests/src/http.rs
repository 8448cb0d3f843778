//! HTTP/1.1 over a bare socket: it sends what it is told, right or wrong, and one connection serves one request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use registry_types::Digest;
use serde_json::Value;

/// How long an answer may take; a request with a large body is answered after syncing it.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer read to its end.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(self.body.get(..self.body.len().min(2000)).unwrap_or_default());
        write!(f, "{} {:?}\n{body}", self.status, self.headers)
    }
}

impl Answer {
    /// Reads an answer up to the end of the connection, which `Connection: close` asked for.
    pub fn read(stream: &mut impl Read) -> Result<Self> {
        let mut bytes = Vec::new();
        // A server that refuses early may reset the connection after its answer.
        let ended = stream.read_to_end(&mut bytes);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            ended.context("no answer came")?;
            anyhow::bail!("this is no answer: {:?}", String::from_utf8_lossy(&bytes));
        };
        let head = String::from_utf8(bytes[..end].to_vec())?;
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap_or_default();
        ensure!(status.starts_with("HTTP/1.1 "), "this is no status line: {status}");
        let status = status.split(' ').nth(1).unwrap_or_default().parse()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Ok(Self { status, headers, body: bytes[end + 4..].to_vec() })
    }

    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {self:?}"))
    }

    /// The code of the first error in the OCI envelope.
    pub fn error_code(&self) -> Result<String> {
        let code = self.json()?["errors"][0]["code"].as_str().map(str::to_owned);
        code.with_context(|| format!("no error envelope: {self:?}"))
    }

    /// Itself, if the status is as expected.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "expected {status}, got {self:?}");
        Ok(self)
    }
}

/// A server to send requests to.
#[derive(Debug, Clone, Copy)]
pub struct Server(pub SocketAddr);

impl Server {
    pub fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.0).with_context(|| format!("cannot reach {}", self.0))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends a request's head alone, announcing `length` bytes, and gives the connection for them.
    pub fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) -> Result<TcpStream> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.0);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if length > 0 || matches!(method, "POST" | "PUT" | "PATCH") {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = self.connect()?;
        stream.write_all(head.as_bytes())?;
        Ok(stream)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut stream = self.begin(method, path, headers, body.len())?;
        // A server that refuses early reads no further; its answer says why.
        let _ = stream.write_all(body);
        Answer::read(&mut stream).with_context(|| format!("{method} {path}"))
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.request("GET", path, &[], b"")
    }

    /// Starts an upload session and gives its path.
    pub fn start_upload(&self, repository: &str) -> Result<String> {
        let answer =
            self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"")?.expect(202)?;
        Ok(answer.header("location").context("a session has a Location")?.to_owned())
    }

    /// Pushes a blob in one request.
    pub fn push_blob(&self, repository: &str, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.request("POST", &path, &[("Content-Type", "application/octet-stream")], bytes)?.expect(201)?;
        Ok(digest)
    }

    pub fn put_manifest(&self, repository: &str, reference: &str, manifest: &[u8]) -> Result<Answer> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
        self.request("PUT", &path, &headers, manifest)
    }
}
