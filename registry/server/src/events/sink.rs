//! Batches of events by POST. A connection is kept for the next batch. Redirects are not followed: the headers may hold
//! a secret that is for the configured host only.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use registry_client::{Trust, tls_config_blocking};
use registry_core::{BATCH_TYPE, DeliveryError, EventSink};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{ServerError, run::off_workers};

/// Most bytes read of an answer: nobody looks at them, and a connection whose answer is longer is not used again.
const ANSWER_BYTES: usize = 64 << 10;

type Sender = SendRequest<Full<Bytes>>;

pub(crate) struct HttpSink {
    host: String,
    port: u16,
    /// Host and port as the header `Host` has them.
    authority: String,
    path: String,
    headers: HeaderMap,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    kept: Mutex<Option<Sender>>,
}

impl HttpSink {
    /// Reads the machine's authorities for an `https` URL.
    pub(crate) async fn new(url: &Url, headers: HeaderMap) -> Result<Self, ServerError> {
        let wrong = |reason: &str| ServerError::Config(format!("the url of an event endpoint: {reason}"));
        let host = url.host_str().ok_or_else(|| wrong("it names no host"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().ok_or_else(|| wrong("it names no port"))?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let tls = if url.scheme() == "https" {
            let config: ClientConfig = off_workers(|| {
                tls_config_blocking(Trust::Native).map_err(|error| ServerError::Tls(error.to_string()))
            })
            .await?;
            let name = ServerName::try_from(bare.clone()).map_err(|_| wrong("its host is malformed"))?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        let path =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { host: bare, port, authority, path, headers, tls, kept: Mutex::new(None) })
    }

    async fn connect(&self) -> Result<Sender, DeliveryError> {
        let failed = |what: &str, error: &dyn fmt::Display| {
            DeliveryError(format!("cannot {what} {}: {error}", self.authority))
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| failed("connect to", &error))?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                open(TokioIo::new(stream.map_err(|error| failed("speak TLS with", &error))?)).await
            }
            None => open(TokioIo::new(stream)).await,
        }
        .map_err(|error| failed("speak HTTP with", &error))
    }

    fn request(&self, batch: Bytes) -> Result<Request<Full<Bytes>>, DeliveryError> {
        let mut request = Request::post(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, BATCH_TYPE)
            .header(header::USER_AGENT, concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(batch))
            .map_err(|error| DeliveryError(error.to_string()))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        Ok(request)
    }
}

async fn open<I: Read + Write + Unpin + Send + 'static>(io: I) -> hyper::Result<Sender> {
    let (sender, connection) = handshake(io).await?;
    // It ends when the sender is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to an event endpoint ended");
        }
    });
    Ok(sender)
}

impl EventSink for HttpSink {
    async fn deliver(&self, batch: Bytes) -> Result<(), DeliveryError> {
        // One that the endpoint has closed meanwhile is no failure of the endpoint. Should it have taken the batch before,
        // it gets it twice, which it must bear anyway.
        let kept = self.kept.lock().await.take();
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(self.request(batch.clone())?).await
        {
            return self.finish(sender, response).await;
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(self.request(batch)?).await;
        let response =
            response.map_err(|error| DeliveryError(format!("{} gave no answer: {error}", self.authority)))?;
        self.finish(sender, response).await
    }
}

impl HttpSink {
    /// Judges the answer and keeps the connection if it can be used again.
    async fn finish(&self, sender: Sender, response: Response<Incoming>) -> Result<(), DeliveryError> {
        let status = response.status();
        if !status.is_success() {
            return Err(DeliveryError(format!("{} answered {status}", self.authority)));
        }
        // Taken, whatever becomes of the rest of its answer.
        if Limited::new(response.into_body(), ANSWER_BYTES).collect().await.is_ok() {
            *self.kept.lock().await = Some(sender);
        }
        Ok(())
    }
}

/// Without the path and the headers, which may hold secrets.
impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink").field("authority", &self.authority).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
