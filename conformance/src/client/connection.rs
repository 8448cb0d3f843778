//! Connections, plain or by TLS.

use std::{io, sync::Arc};

use registry_client::{Trust, tls_config_blocking};
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use url::Url;

/// Bytes both ways.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    pub(crate) async fn new(trust: Trust) -> Result<Self, String> {
        let config = tokio::task::spawn_blocking(move || tls_config_blocking(trust));
        let config = config.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// A connection to the host of `url`.
    pub(crate) async fn connect(&self, url: &Url) -> io::Result<Box<dyn Stream>> {
        let host =
            url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().unwrap_or(443);
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        if url.scheme() == "http" {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        Ok(Box::new(self.tls.connect(name, stream).await?))
    }
}
