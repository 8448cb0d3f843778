//! The contestants: ours, nginx (files only), the distribution registry, and any other registry that the caller
//! names. Each is reached by plain HTTP, and those that can by TLS with one common certificate.

mod distribution;
mod nginx;
mod ours;
mod rival;

use std::{net::TcpListener, path::Path, sync::Arc};

use anyhow::Result;
use registry_client::{Trust, tls_config_blocking};
use tokio_rustls::TlsConnector;

pub(crate) use rival::Rival;

use crate::{Options, certificate::Certificate, process::Server, wire::Connection};

/// The repository that all benchmarks push to.
pub(crate) const REPOSITORY: &str = "bench/image";

/// TLS without a check of the certificate, which is the benchmark's own.
#[derive(Clone)]
pub(crate) struct Tls {
    pub(crate) http1: TlsConnector,
    pub(crate) http2: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn new() -> Result<Self> {
        let with = |protocol: &[u8]| -> Result<TlsConnector> {
            let mut config = tls_config_blocking(Trust::Anyone)?;
            config.alpn_protocols = vec![protocol.to_vec()];
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { http1: with(b"http/1.1")?, http2: with(b"h2")? })
    }
}

/// A running server, one way to reach it, and the credentials for it.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    pub(crate) server: Arc<Server>,
    pub(crate) port: u16,
    pub(crate) authorization: Option<Arc<str>>,
    /// Set where `port` is reached by TLS.
    pub(crate) tls: Option<Tls>,
    /// Memory when it had done nothing yet, in MiB.
    pub(crate) idle: f64,
}

impl Contestant {
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let tls = self.tls.as_ref().map(|tls| &tls.http1);
        Connection::open(self.port, tls, self.authorization.clone()).await
    }
}

/// All of them, on one folder.
#[derive(Debug)]
pub(crate) struct Contestants {
    /// Registries by plain HTTP; ours first.
    pub(crate) plain: Vec<Contestant>,
    /// Registries by TLS.
    pub(crate) secure: Vec<Contestant>,
    /// nginx, plain and by TLS: it serves the files below `www` and takes none.
    pub(crate) files: Option<(Contestant, Contestant)>,
}

impl Contestants {
    pub(crate) async fn start(options: &Options, folder: &Path) -> Result<Self> {
        let (tls, certificate) = (Tls::new()?, Certificate::write(folder)?);
        let (plain, secure) = ours::start(options, folder, &certificate, &tls).await?;
        let mut all = Self { plain: vec![plain], secure: vec![secure], files: None };
        if let Some(program) = distribution::program(options) {
            let data = folder.join("distribution");
            all.plain.push(distribution::start(&program, folder, &data, None)?);
            all.secure.push(distribution::start(&program, folder, &data, Some((&certificate, &tls)))?);
        }
        for rival in &options.rivals {
            all.plain.push(rival.start(folder)?);
        }
        all.files = nginx::start(folder, &certificate, &tls)?;
        // Allocators give back, and runtimes start their threads, a little later.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        for contestant in all.plain.iter_mut().chain(&mut all.secure) {
            contestant.idle = contestant.server.memory_mib();
        }
        Ok(all)
    }

    /// Whether one of this name takes part.
    pub(crate) fn has(&self, name: &str) -> bool {
        let files = self.files.iter().map(|(plain, _)| plain);
        self.plain.iter().chain(files).any(|contestant| contestant.name == name)
    }
}

/// Registries with which the lists are filled: nobody needs a token for each of a hundred thousand repositories.
pub(crate) fn open_registries(options: &Options, folder: &Path) -> Result<Vec<Contestant>> {
    let folder = folder.join("lists");
    std::fs::create_dir_all(&folder)?;
    let mut registries = vec![ours::start_open(options, &folder)?];
    if let Some(program) = distribution::program(options) {
        registries.push(distribution::start(&program, &folder, &folder.join("distribution"), None)?);
    }
    for rival in &options.rivals {
        registries.push(rival.start(&folder)?);
    }
    Ok(registries)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn plain(name: &str, server: Server, authorization: Option<Arc<str>>) -> Contestant {
    let port = server.port;
    Contestant { name: name.to_owned(), server: Arc::new(server), port, authorization, tls: None, idle: 0.0 }
}
