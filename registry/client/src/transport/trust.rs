//! Whom a TLS client believes: the machine's authorities, or anyone. Also for programs that speak HTTP over their own
//! connections, such as checks that must see every byte.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Whose certificates are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Those that the machine's authorities signed (`SSL_CERT_FILE`, `SSL_CERT_DIR`, else the system's).
    Native,
    /// Every certificate, for hosts that the user named insecure.
    Anyone,
}

/// A TLS configuration for a caller with connections of its own. It shows no certificate and offers no protocol by
/// ALPN (RFC 7301) until the caller adds some. Reads the machine's authorities from files.
///
/// # Errors
/// When the cryptography library can do none of the protocol versions.
pub fn tls_config_blocking(trust: Trust) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Native => builder.with_root_certificates(native_roots_blocking()),
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(unchecked(&provider)),
    };
    Ok(builder.with_no_client_auth())
}

/// The machine's authorities; those that cannot be read are left out.
pub(super) fn native_roots_blocking() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "an authority of this machine cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    roots
}

pub(super) fn unchecked(provider: &Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Unchecked { provider: Arc::clone(provider) })
}

/// Takes any certificate, for hosts that the user named insecure. Signatures are still checked, so that the
/// session is with whoever showed the certificate.
#[derive(Debug)]
struct Unchecked {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
