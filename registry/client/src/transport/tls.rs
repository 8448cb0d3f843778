//! TLS towards each host: which authorities are trusted, which certificate we show. Nothing global is installed;
//! files are read once per host, off the worker threads.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use registry_types::RegistryHost;
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

use super::{
    ConnectError,
    trust::{native_roots_blocking, unchecked},
};

/// Where docker, podman and containerd look for a registry's authorities and our certificates for it.
pub(crate) const DOCKER_CERTIFICATES: &str = "/etc/docker/certs.d";

/// Where trust comes from.
#[derive(Debug, Clone)]
pub(crate) struct TlsSettings {
    /// PEM files with authorities beyond the machine's own.
    pub(crate) authorities: Vec<PathBuf>,
    /// The folder with one folder per `host[:port]`.
    pub(crate) host_folders: Vec<PathBuf>,
    /// The machine's own authorities, which `SSL_CERT_FILE` and `SSL_CERT_DIR` replace.
    pub(crate) native: bool,
    /// Hosts whose certificate is not checked, since the user named them insecure.
    pub(crate) unchecked: Vec<RegistryHost>,
    /// Offer HTTP/2.
    pub(crate) http2: bool,
}

#[derive(Debug)]
pub(crate) struct TlsStore {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    configs: Mutex<HashMap<(String, bool), Arc<ClientConfig>>>,
}

impl TlsStore {
    pub(crate) fn new(settings: TlsSettings) -> Self {
        Self {
            settings,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            configs: Mutex::new(HashMap::new()),
        }
    }

    /// Whether the user said that `host` need not prove who it is.
    pub(super) fn may_skip_checks(&self, host: &str, port: u16) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        self.settings
            .unchecked
            .iter()
            .any(|known| known.host() == bare && known.port().is_none_or(|known| known == port))
    }

    /// The configuration for a host; `checked` unless its certificate is not to be verified.
    pub(super) async fn config(
        self: &Arc<Self>,
        host: &str,
        port: u16,
        checked: bool,
    ) -> Result<Arc<ClientConfig>, ConnectError> {
        let name = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        let key = (name, checked);
        if let Some(config) = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(config));
        }
        let (store, name) = (Arc::clone(self), key.0.clone());
        let config = tokio::task::spawn_blocking(move || store.load_blocking(&name, checked))
            .await
            .map_err(|error| ConnectError::Setting(error.to_string()))??;
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(configs.entry(key).or_insert(Arc::new(config))))
    }

    fn load_blocking(&self, name: &str, checked: bool) -> Result<ClientConfig, ConnectError> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ConnectError::Setting(error.to_string()))?;
        let folders: Vec<PathBuf> =
            self.settings.host_folders.iter().map(|folder| folder.join(name)).collect();
        let builder = if checked {
            builder.with_root_certificates(self.roots_blocking(&folders)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(unchecked(&self.provider))
        };
        let mut config = match own_certificate_blocking(&folders)? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
                ConnectError::Setting(format!("the client certificate for {name} cannot be used: {error}"))
            })?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = if self.settings.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        Ok(config)
    }

    fn roots_blocking(&self, folders: &[PathBuf]) -> Result<RootCertStore, ConnectError> {
        let mut roots = if self.settings.native { native_roots_blocking() } else { RootCertStore::empty() };
        for path in &self.settings.authorities {
            add_authorities_blocking(&mut roots, path)?;
        }
        for folder in folders {
            for path in files_blocking(folder, "crt")? {
                add_authorities_blocking(&mut roots, &path)?;
            }
        }
        Ok(roots)
    }
}

fn add_authorities_blocking(roots: &mut RootCertStore, path: &Path) -> Result<(), ConnectError> {
    let unusable = |reason: String| ConnectError::Setting(format!("{}: {reason}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    let mut found = false;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        found = true;
    }
    if found { Ok(()) } else { Err(unusable("there is no PEM certificate in it".to_owned())) }
}

type OwnCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Docker's rule: each `NAME.cert` has a `NAME.key` beside it. The first pair is shown.
fn own_certificate_blocking(folders: &[PathBuf]) -> Result<Option<OwnCertificate>, ConnectError> {
    for folder in folders {
        if let Some(path) = files_blocking(folder, "cert")?.first() {
            let key = path.with_extension("key");
            let unusable =
                |path: &Path, reason: String| ConnectError::Setting(format!("{}: {reason}", path.display()));
            let chain = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| unusable(path, error.to_string()))?;
            let key =
                PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, error.to_string()))?;
            return Ok(Some((chain, key)));
        }
    }
    Ok(None)
}

/// The files of `folder` with an extension, by name; none when there is no such folder.
fn files_blocking(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, ConnectError> {
    let unusable = |error: io::Error| ConnectError::Setting(format!("{}: {error}", folder.display()));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unusable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
