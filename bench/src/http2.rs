//! HTTP/2 over TLS, as container engines speak it: many streams on few connections, by hyper.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, channel::Channel};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use crate::{servers::Contestant, wire};

/// A chunk of a request's body is handed over when the one before it is taken.
const CHUNKS_AHEAD: usize = 1;

type Body = Channel<Bytes, std::io::Error>;

/// A connection that streams share; cheap to clone.
#[derive(Clone)]
pub(crate) struct Http2 {
    sender: SendRequest<Body>,
    authority: String,
    authorization: Option<Arc<str>>,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Http2 {
    /// A new connection; its driver ends with the last clone.
    pub(crate) async fn open(contestant: &Contestant) -> Result<Self> {
        let tls = contestant.tls.as_ref().context("HTTP/2 is spoken over TLS here")?;
        let stream = wire::connect(contestant.port, Some(&tls.http2)).await?;
        let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender,
            authority: format!("localhost:{}", contestant.port),
            authorization: contestant.authorization.clone(),
        })
    }

    async fn send(&mut self, method: Method, path: &str, body: Body) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, &**value);
        }
        let request = request.header(header::CONTENT_TYPE, "application/octet-stream").body(body)?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Gets `path` until `until`, `step` bytes at a time with `pause` between them.
    pub(crate) async fn pull_slowly(
        mut self,
        path: &str,
        step: usize,
        pause: Duration,
        until: Instant,
    ) -> Result<()> {
        let (sender, nothing) = Body::new(CHUNKS_AHEAD);
        drop(sender);
        let mut answer = self.send(Method::GET, path, nothing).await?;
        ensure!(answer.status() == 200, "GET {path} answered {}", answer.status());
        let mut read = 0;
        while Instant::now() < until {
            let Some(frame) = answer.frame().await else { return Ok(()) };
            read += frame?.data_ref().map_or(0, Bytes::len);
            if read >= step {
                read = 0;
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    /// Starts an upload at `path` and sends `chunk` again and again, below `length` bytes in all, until `until`.
    pub(crate) async fn push_unfinished(
        mut self,
        path: &str,
        chunk: Bytes,
        length: u64,
        until: Instant,
    ) -> Result<()> {
        let (sender, nothing) = Body::new(CHUNKS_AHEAD);
        drop(sender);
        let started = self.send(Method::POST, path, nothing).await?;
        ensure!(started.status() == 202, "starting an upload answered {}", started.status());
        let location = started.headers().get(header::LOCATION).context("no Location")?.to_str()?;
        let location = wire::path_of(location);
        let (mut sender, body) = Body::new(CHUNKS_AHEAD);
        let answer = self.send(Method::PATCH, &location, body);
        let send = async {
            let mut left = length;
            while Instant::now() < until && left > chunk.len() as u64 {
                sender.send_data(chunk.clone()).await.map_err(|_| anyhow::anyhow!("an upload was cut"))?;
                left -= chunk.len() as u64;
            }
            tokio::time::sleep_until(until).await;
            anyhow::Ok(())
        };
        tokio::select! {
            answered = answer => {
                let status = answered?.status();
                anyhow::bail!("an unfinished upload answered {status}")
            }
            sent = send => sent,
        }
    }
}
