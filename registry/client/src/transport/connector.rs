//! How a connection comes about: through a proxy or not, with TLS or not. Each way to fail is told apart, since
//! finding out the scheme depends on it.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    proxy::{Proxy, ProxySettings},
    tls::TlsStore,
};
use crate::Error;

/// Longest header of a proxy's answer to CONNECT, in bytes; real ones have a few hundred.
const LONGEST_PROXY_ANSWER: usize = 16 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("{0}")]
    Tcp(io::Error),
    #[error("no connection within {} s", .0.as_secs_f32())]
    TcpTimeout(Duration),
    /// What came back to a TLS greeting is not TLS.
    #[error("it does not speak TLS")]
    NotTls,
    #[error("no TLS handshake within {} s", .0.as_secs_f32())]
    TlsTimeout(Duration),
    #[error(
        "the TLS handshake broke off: {0}; does it speak plain HTTP? then name it in --insecure-registry"
    )]
    TlsCut(io::Error),
    #[error("{0}")]
    Certificate(String),
    #[error("{0}")]
    Tls(String),
    #[error("{0}")]
    Proxy(String),
    #[error("{0}")]
    Setting(String),
}

impl ConnectError {
    /// What this means to a caller who wanted `host`.
    pub(super) fn to_error(&self, host: String) -> Error {
        match self {
            Self::NotTls => Error::InsecureRefused { host },
            Self::Certificate(reason) | Self::Tls(reason) => Error::Tls { host, reason: reason.clone() },
            Self::Setting(reason) => Error::Tls { host, reason: reason.clone() },
            Self::TcpTimeout(waited) => Error::Timeout { host, waiting: "connecting", waited: *waited },
            Self::TlsTimeout(waited) => {
                Error::Timeout { host, waiting: "shaking hands for TLS", waited: *waited }
            }
            Self::Tcp(_) | Self::TlsCut(_) | Self::Proxy(_) => {
                Error::Network { host, reason: self.to_string() }
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct Connector {
    tls: Arc<TlsStore>,
    proxy: Arc<ProxySettings>,
    patience: Duration,
}

impl Connector {
    pub(super) fn new(tls: Arc<TlsStore>, proxy: Arc<ProxySettings>, patience: Duration) -> Self {
        Self { tls, proxy, patience }
    }

    async fn connect(self, uri: Uri) -> Result<TokioIo<Link>, ConnectError> {
        let host = uri.host().unwrap_or_default();
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let proxy = self.proxy.for_target(if https { "https" } else { "http" }, host, port);
        if !https {
            let tcp = self.tcp(proxy, host, port).await?;
            return Ok(TokioIo::new(Link::Plain { tcp, proxied: proxy.is_some() }));
        }
        match self.tls(proxy, host, port, true).await {
            Err(ConnectError::Certificate(reason)) if self.tls.may_skip_checks(host, port) => {
                tracing::warn!(host, reason, "the certificate is not trusted; the host is named insecure");
                self.tls(proxy, host, port, false).await
            }
            outcome => outcome,
        }
    }

    async fn tcp(&self, proxy: Option<&Proxy>, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let (host, port) = proxy.map_or((host, port), |proxy| (proxy.host.as_str(), proxy.port));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = tokio::time::timeout(self.patience, TcpStream::connect((host, port)))
            .await
            .map_err(|_| ConnectError::TcpTimeout(self.patience))?
            .map_err(|error| match proxy {
                Some(_) => ConnectError::Proxy(format!("the proxy {host}:{port} cannot be reached: {error}")),
                None => ConnectError::Tcp(error),
            })?;
        // Requests are written whole: waiting for more to send would only cost time.
        tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
        Ok(tcp)
    }

    async fn tls(
        &self,
        proxy: Option<&Proxy>,
        host: &str,
        port: u16,
        checked: bool,
    ) -> Result<TokioIo<Link>, ConnectError> {
        let config = self.tls.config(host, port, checked).await?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| ConnectError::Tls(format!("{bare:?} cannot stand in a certificate")))?;
        let mut tcp = self.tcp(proxy, host, port).await?;
        if let Some(proxy) = proxy {
            tokio::time::timeout(self.patience, tunnel(&mut tcp, proxy, host, port))
                .await
                .map_err(|_| ConnectError::Proxy("the proxy does not answer".to_owned()))??;
        }
        let stream = tokio::time::timeout(self.patience, TlsConnector::from(config).connect(name, tcp))
            .await
            .map_err(|_| ConnectError::TlsTimeout(self.patience))?
            .map_err(|error| handshake_failure(error, host))?;
        Ok(TokioIo::new(Link::Tls(Box::new(stream))))
    }
}

fn handshake_failure(error: io::Error, host: &str) -> ConnectError {
    let Some(cause) = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) else {
        return ConnectError::TlsCut(error);
    };
    match cause {
        rustls::Error::InvalidMessage(_) => ConnectError::NotTls,
        rustls::Error::InvalidCertificate(problem) => ConnectError::Certificate(explain(problem, host)),
        other => ConnectError::Tls(other.to_string()),
    }
}

fn explain(problem: &CertificateError, host: &str) -> String {
    match problem {
        CertificateError::UnknownIssuer => format!(
            "its certificate is signed by an authority that this machine does not know; put the authority's PEM \
             file into {}/{host}[:port]/ca.crt, or name it in SSL_CERT_FILE",
            super::tls::DOCKER_CERTIFICATES
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!(
                "its certificate is not for the name {host}; use the name it was made for, or make a new one"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew it on the server, or set this machine's clock".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet; look at this machine's clock".to_owned()
        }
        other => format!("its certificate is refused: {other}"),
    }
}

/// Asks a proxy for a tunnel (RFC 9110 section 9.3.6).
async fn tunnel(tcp: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> Result<(), ConnectError> {
    let broken =
        |error: io::Error| ConnectError::Proxy(format!("the proxy {} broke off: {error}", proxy.host));
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(login) = &proxy.login {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(login.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    tcp.write_all(&request).await.map_err(broken)?;
    let mut answer = Vec::new();
    // Byte by byte, so that nothing behind the header is taken: it belongs to the tunnel.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= LONGEST_PROXY_ANSWER {
            return Err(ConnectError::Proxy(format!("the answer of the proxy {} is too long", proxy.host)));
        }
        answer.push(tcp.read_u8().await.map_err(broken)?);
    }
    let status = std::str::from_utf8(&answer)
        .ok()
        .and_then(|text| text.split(' ').nth(1))
        .and_then(|code| code.parse::<u16>().ok());
    match status {
        Some(200..=299) => Ok(()),
        Some(407) => Err(ConnectError::Proxy(format!("the proxy {} wants another login", proxy.host))),
        Some(code) => Err(ConnectError::Proxy(format!("the proxy {} answered {code}", proxy.host))),
        None => Err(ConnectError::Proxy(format!("the proxy {} does not speak HTTP", proxy.host))),
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Link>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// A connection, with TLS or without.
pub(super) enum Link {
    Plain { tcp: TcpStream, proxied: bool },
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        match self {
            // A plain request to a proxy names its whole target.
            Self::Plain { proxied, .. } => Connected::new().proxy(*proxied),
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                Connected::new().negotiated_h2()
            }
            Self::Tls(_) => Connected::new(),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Link {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_write(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain { tcp, .. } => Pin::new(tcp).poll_write_vectored(context, buffers),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, buffers),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain { tcp, .. } => tcp.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
