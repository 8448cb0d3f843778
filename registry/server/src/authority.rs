//! A private certificate authority for `--tls self-signed`: made once, kept in the data folder, so that clients
//! trust it once. The server's own certificate is made from it anew at each start, for the names of that start.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

use crate::{
    ServerError,
    data::{write_private_blocking, write_public_blocking},
};

/// Ten years: a private authority is replaced by hand, on every client.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// What browsers and Apple's libraries accept at most for a server's certificate.
const SERVER_LIFE: Duration = Duration::days(397);
/// Clocks of clients may be behind ours.
const BACKDATED: Duration = Duration::hours(1);

/// Where the files are.
#[derive(Debug, Clone)]
pub struct SelfSigned {
    /// The authority's certificate, to be given to clients.
    pub authority: PathBuf,
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The names and addresses that the certificate is for.
    pub names: Vec<String>,
}

impl SelfSigned {
    /// Makes what is missing in `folder` and a server certificate for `names`.
    pub fn prepare_blocking(folder: &Path, names: Vec<String>) -> Result<Self, ServerError> {
        let files = Self {
            authority: folder.join("ca.crt"),
            certificate: folder.join("server.crt"),
            key: folder.join("server.key"),
            names,
        };
        let issuer = files.issuer(&folder.join("ca.key"))?;
        let key = KeyPair::generate().map_err(broken)?;
        let mut params = CertificateParams::new(files.names.clone()).map_err(broken)?;
        params.distinguished_name = named("Slipway registry");
        params.not_before = OffsetDateTime::now_utc() - BACKDATED;
        params.not_after = OffsetDateTime::now_utc() + SERVER_LIFE;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &issuer).map_err(broken)?;
        write_private_blocking(&files.key, key.serialize_pem().as_bytes())?;
        write_public_blocking(&files.certificate, certificate.pem().as_bytes())?;
        Ok(files)
    }

    /// The authority of the folder, made if there is none.
    fn issuer(&self, key_file: &Path) -> Result<Issuer<'static, KeyPair>, ServerError> {
        if key_file.exists() && self.authority.exists() {
            let key = KeyPair::from_pem(&read(key_file)?).map_err(broken)?;
            return Issuer::from_ca_cert_pem(&read(&self.authority)?, key).map_err(broken);
        }
        let key = KeyPair::generate().map_err(broken)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Slipway private authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = OffsetDateTime::now_utc() - BACKDATED;
        params.not_after = OffsetDateTime::now_utc() + AUTHORITY_LIFE;
        let certificate = params.self_signed(&key).map_err(broken)?;
        write_private_blocking(key_file, key.serialize_pem().as_bytes())?;
        write_public_blocking(&self.authority, certificate.pem().as_bytes())?;
        Ok(Issuer::new(params, key))
    }
}

/// The names a certificate needs so that clients on this machine and by the external name are content.
pub(crate) fn certificate_names(external_host: Option<&str>, listen: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(external_host.map(|host| host.trim_matches(['[', ']']).to_owned()));
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.sort();
    names.dedup();
    names
}

/// Where each client wants the authority's certificate, for the registry under `host` (with its port).
pub fn client_instructions(authority: &Path, host: &str) -> String {
    let authority = authority.display();
    format!(
        "clients trust this registry when they have its authority, {authority}:\n  \
         docker      mkdir -p /etc/docker/certs.d/{host} && cp {authority} /etc/docker/certs.d/{host}/ca.crt\n  \
         podman      mkdir -p /etc/containers/certs.d/{host} && cp {authority} /etc/containers/certs.d/{host}/ca.crt\n  \
         containerd  in /etc/containerd/certs.d/{host}/hosts.toml: [host.\"https://{host}\"] ca = \"{authority}\"\n  \
         Go tools    SSL_CERT_FILE={authority} (crane, oras, regctl, helm)\n  \
         the system  cp {authority} /usr/local/share/ca-certificates/slipway.crt && update-ca-certificates"
    )
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn read(path: &Path) -> Result<String, ServerError> {
    std::fs::read_to_string(path).map_err(|source| ServerError::Data {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn broken(error: rcgen::Error) -> ServerError {
    ServerError::Tls(format!(
        "the private authority does not work: {error}; remove its folder to make a new one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_stays_and_the_certificate_is_for_the_names_asked() {
        let folder = tempfile::tempdir().unwrap();
        let first = SelfSigned::prepare_blocking(folder.path(), vec!["a.example".to_owned()]).unwrap();
        let authority = std::fs::read_to_string(&first.authority).unwrap();
        let second = SelfSigned::prepare_blocking(
            folder.path(),
            certificate_names(Some("b.example"), [0, 0, 0, 0].into()),
        )
        .unwrap();
        assert_eq!(std::fs::read_to_string(&second.authority).unwrap(), authority, "the authority changed");
        let pem = std::fs::read(&second.certificate).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let names = format!("{:?}", certificate.subject_alternative_name().unwrap().unwrap().value);
        assert!(names.contains("b.example") && names.contains("localhost"), "{names}");
        registry_http::server_config(&second.certificate, &second.key).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let files = SelfSigned::prepare_blocking(folder.path(), vec!["a".to_owned()]).unwrap();
        for key in [files.key, folder.path().join("ca.key")] {
            assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
