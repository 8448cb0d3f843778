//! TLS to a Docker Engine: its certificate is checked against the given authority, ours is shown to it.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsConnector;

use super::address::TlsFiles;

/// Reads the PEM files and makes a connector; the text of an error names the file.
pub(crate) async fn connector(files: &TlsFiles) -> Result<TlsConnector, String> {
    let files = files.clone();
    tokio::task::spawn_blocking(move || connector_blocking(&files))
        .await
        .map_err(|error| format!("reading the TLS files was interrupted: {error}"))?
}

fn connector_blocking(files: &TlsFiles) -> Result<TlsConnector, String> {
    let certificates = |path: &std::path::Path| -> Result<Vec<CertificateDer<'static>>, String> {
        CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| format!("{}: {error}", path.display()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.authority_certificate)? {
        roots
            .add(certificate)
            .map_err(|error| format!("{}: {error}", files.authority_certificate.display()))?;
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| format!("{}: {error}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates(&files.certificate)?, key)
        .map_err(|error| format!("{}: {error}", files.certificate.display()))?;
    Ok(TlsConnector::from(Arc::new(config)))
}
