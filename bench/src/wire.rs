//! A bare HTTP/1.1 client, plain or over TLS: as little work as possible on the measuring side, the same for every
//! server.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Bytes read or written at once.
const CHUNK: usize = 1 << 20;

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A keep-alive connection to a server on this machine.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    host: String,
    authorization: Option<Arc<str>>,
}

/// Connects to `port` of this machine, with a handshake if `tls` is given.
pub(crate) async fn connect(port: u16, tls: Option<&TlsConnector>) -> Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from("localhost")?;
    Ok(Box::new(tls.connect(name, stream).await.context("the TLS handshake failed")?))
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    length: u64,
    chunked: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Connection {
    pub(crate) async fn open(
        port: u16,
        tls: Option<&TlsConnector>,
        authorization: Option<Arc<str>>,
    ) -> Result<Self> {
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, connect(port, tls).await?),
            host: format!("127.0.0.1:{port}"),
            authorization,
        })
    }

    /// Sends a request with a body at hand and reads the whole answer.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(Head, Vec<u8>)> {
        self.send_head(method, path, headers, body.len() as u64).await?;
        self.stream.get_mut().write_all(body).await?;
        self.stream.get_mut().flush().await?;
        let head = self.read_head().await?;
        let answer = if method == "HEAD" { Vec::new() } else { self.read_body(&head).await? };
        Ok((head, answer))
    }

    /// Reads a body to its end, by its length or by its chunks (RFC 9112 section 7.1).
    async fn read_body(&mut self, head: &Head) -> Result<Vec<u8>> {
        if !head.chunked {
            let mut body = vec![0; head.length as usize];
            self.stream.read_exact(&mut body).await?;
            return Ok(body);
        }
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream.read_exact(body.get_mut(start..).context("a chunk has a place")?).await?;
            self.read_line().await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Gets `path` and drops the bytes; gives their number.
    pub(crate) async fn drain(&mut self, path: &str) -> Result<u64> {
        self.begin("GET", path).await?;
        let head = self.read_head().await?;
        if head.status != 200 {
            bail!("GET {path} answered {}", head.status);
        }
        let mut buffer = vec![0; CHUNK];
        let mut left = head.length;
        while left > 0 {
            let part = buffer.get_mut(..CHUNK.min(left as usize)).context("a chunk is at most the buffer")?;
            let count = self.stream.read(part).await?;
            if count == 0 {
                bail!("GET {path} ended {left} bytes early");
            }
            left -= count as u64;
        }
        Ok(head.length)
    }

    /// Begins a GET and reads only its head: a client that is slow to read the rest.
    pub(crate) async fn begin_get(&mut self, path: &str) -> Result<u64> {
        self.begin("GET", path).await?;
        let head = self.read_head().await?;
        ensure!(head.status == 200, "GET {path} answered {}", head.status);
        Ok(head.length)
    }

    /// Reads up to `count` bytes of a body and drops them.
    pub(crate) async fn skip(&mut self, count: usize) -> Result<usize> {
        let mut buffer = vec![0; count];
        Ok(self.stream.read(&mut buffer).await?)
    }

    /// Uploads `content`, repeated to `length` bytes, to `path` with PUT.
    pub(crate) async fn upload(&mut self, path: &str, content: &[u8], length: u64) -> Result<Head> {
        self.send_head("PUT", path, "Content-Type: application/octet-stream\r\n", length).await?;
        self.send_body(content, length).await?;
        let head = self.read_head().await?;
        self.read_body(&head).await?;
        Ok(head)
    }

    async fn begin(&mut self, method: &str, path: &str) -> Result<()> {
        self.send_head(method, path, "", 0).await?;
        Ok(self.stream.get_mut().flush().await?)
    }

    pub(crate) async fn send_head(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        length: u64,
    ) -> Result<()> {
        let authorization = match &self.authorization {
            Some(value) => format!("Authorization: {value}\r\n"),
            None => String::new(),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n{authorization}{headers}\r\n",
            self.host
        );
        Ok(self.stream.get_mut().write_all(head.as_bytes()).await?)
    }

    pub(crate) async fn send_body(&mut self, content: &[u8], length: u64) -> Result<()> {
        let mut left = length;
        while left > 0 {
            for chunk in content.chunks(CHUNK) {
                let part = chunk.get(..chunk.len().min(left as usize)).unwrap_or(chunk);
                self.stream.get_mut().write_all(part).await?;
                left -= part.len() as u64;
                if left == 0 {
                    break;
                }
            }
        }
        Ok(self.stream.get_mut().flush().await?)
    }

    async fn read_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        if line.pop() != Some(b'\n') {
            bail!("the connection ended within a line");
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    pub(crate) async fn read_head(&mut self) -> Result<Head> {
        let mut head = Head { status: 0, location: None, length: 0, chunked: false };
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                return Ok(head);
            }
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                head.status = status.get(..3).and_then(|digits| digits.parse().ok()).context("no status")?;
            } else if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => head.length = value.trim().parse()?,
                    "location" => head.location = Some(path_of(value.trim())),
                    "transfer-encoding" => head.chunked = value.trim().eq_ignore_ascii_case("chunked"),
                    _ => {}
                }
            }
        }
    }
}

/// Path and query of a `Location`, which may be absolute.
pub(crate) fn path_of(location: &str) -> String {
    match location.split_once("://") {
        Some((_, rest)) => format!("/{}", rest.split_once('/').map_or("", |(_, path)| path)),
        None => location.to_owned(),
    }
}
