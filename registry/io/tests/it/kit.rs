//! A small HTTP/1 server over the streams under test, and a client that reads raw bytes.

use std::{
    fs::File,
    io::{self, Write},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use registry_io::{FileSender, ZeroCopyStream};
use registry_types::Digest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) type AnyBody = BoxBody<Bytes, io::Error>;
pub(crate) type Handler = Arc<dyn Fn(&Request<Incoming>, &FileSender) -> Response<AnyBody> + Send + Sync>;

/// Bytes that differ at every place, so that a wrong offset shows.
pub(crate) fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
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

/// An unnamed file that holds `bytes`.
pub(crate) fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("written");
    Arc::new(file)
}

pub(crate) fn small(text: &'static str) -> AnyBody {
    Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {}).boxed()
}

/// Serves HTTP/1 on a free port for as long as the test's runtime lives.
pub(crate) async fn serve(handler: Handler) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let handler = Arc::clone(&handler);
            tokio::spawn(async move {
                let (stream, sender) = ZeroCopyStream::new(socket);
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = handler(&request, &sender);
                    async move { Ok::<_, io::Error>(answer) }
                });
                // A failing connection is what several tests look for, from the client's side.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// One connection that speaks HTTP/1 by hand.
pub(crate) struct Client {
    socket: TcpStream,
    read: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.expect("connected"), read: Vec::new() }
    }

    pub(crate) async fn ask(&mut self, requests: &[(&str, &str)]) {
        for (method, path) in requests {
            let request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n");
            self.socket.write_all(request.as_bytes()).await.expect("sent");
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.socket.read_buf(&mut self.read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Reads one response; `bodyless` for HEAD and 304.
    pub(crate) async fn answer(&mut self, bodyless: bool) -> io::Result<Answer> {
        let end = loop {
            match self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.more().await?,
            }
        };
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8(head).expect("a text head").to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse::<usize>().expect("a number"));
        let length = if bodyless { 0 } else { length };
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(Answer { head, body: self.read.drain(..length).collect() })
    }

    /// Fills `space` with the bytes that come next.
    pub(crate) async fn read_exact(&mut self, space: &mut [u8]) -> io::Result<()> {
        while self.read.len() < space.len() {
            self.more().await?;
        }
        space.copy_from_slice(&self.read[..space.len()]);
        self.read.drain(..space.len());
        Ok(())
    }

    /// Reads what is left until the server closes the connection or fails it.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        while self.more().await.is_ok() {}
        self.read
    }
}

/// The digest of all of a body's data.
pub(crate) async fn digest_of<B: Body<Data = Bytes, Error = io::Error>>(body: B) -> io::Result<Digest> {
    Ok(Digest::sha256(&body.collect().await?.to_bytes()))
}

/// A body that says nothing after its first frame although more was announced.
pub(crate) struct CutShort<B> {
    pub(crate) inner: Option<B>,
}

impl<B: Body + Unpin> Body for CutShort<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(inner).poll_frame(context));
        self.inner = None;
        Poll::Ready(frame)
    }
}
