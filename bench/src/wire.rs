//! A bare HTTP/1.1 client: as little work as possible on the measuring side, the same for every server.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// Bytes read or written at once.
const CHUNK: usize = 1 << 20;

/// A keep-alive connection to a server on this machine.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    authorization: Option<Arc<str>>,
}

/// A response's head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) location: Option<String>,
    length: u64,
}

impl Connection {
    pub(crate) async fn open(port: u16, authorization: Option<Arc<str>>) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(64 << 10, stream),
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
        let head = self.read_head().await?;
        let mut answer = vec![0; if method == "HEAD" { 0 } else { head.length as usize }];
        self.stream.read_exact(&mut answer).await?;
        Ok((head, answer))
    }

    /// Gets `path` and drops the bytes; gives their number.
    pub(crate) async fn drain(&mut self, path: &str) -> Result<u64> {
        self.send_head("GET", path, "", 0).await?;
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
        self.send_head("GET", path, "", 0).await?;
        Ok(self.read_head().await?.length)
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
        let mut answer = vec![0; head.length as usize];
        self.stream.read_exact(&mut answer).await?;
        Ok(head)
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
        Ok(())
    }

    pub(crate) async fn read_head(&mut self) -> Result<Head> {
        let mut head = Head { status: 0, location: None, length: 0 };
        loop {
            let mut line = Vec::new();
            loop {
                let byte = self.stream.read_u8().await.context("the connection ended within a head")?;
                if byte == b'\n' {
                    break;
                }
                line.push(byte);
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(head);
            }
            if let Some(status) = line.strip_prefix("HTTP/1.1 ") {
                head.status = status.get(..3).and_then(|digits| digits.parse().ok()).context("no status")?;
            } else if let Some((name, value)) = line.split_once(':') {
                match name.to_ascii_lowercase().as_str() {
                    "content-length" => head.length = value.trim().parse()?,
                    "location" => head.location = Some(path_of(value.trim())),
                    _ => {}
                }
            }
        }
    }
}

/// Path and query of a `Location`, which may be absolute.
fn path_of(location: &str) -> String {
    match location.split_once("://") {
        Some((_, rest)) => format!("/{}", rest.split_once('/').map_or("", |(_, path)| path)),
        None => location.to_owned(),
    }
}
