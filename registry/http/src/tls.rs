//! TLS for the listener: certificate and key from PEM files, read again when they change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {what} from {path}: {reason}")]
    Read { what: &'static str, path: PathBuf, reason: String },
    #[error("the certificate {path} and its key do not serve: {reason}")]
    Unusable { path: PathBuf, reason: String },
}

/// Bytes that rustls may hold for a connection that reads slowly. With 16 KiB records, more gains nothing.
pub(crate) const SEND_BUFFER: usize = 256 << 10;

/// Builds the configuration for a certificate chain and its key.
///
/// # Errors
/// [`TlsError`] names the file that is at fault.
pub fn server_config(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let read = |what, path: &Path, reason: String| TlsError::Read { what, path: path.to_owned(), reason };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect)
        .map_err(|error| read("certificates", certificates, error.to_string()))?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| read("a private key", key, error.to_string()))?;
    let unusable = |error: rustls::Error| TlsError::Unusable {
        path: certificates.to_owned(),
        reason: error.to_string(),
    };
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
