//! HTTP or HTTPS, found out by asking; trust; proxies.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use registry_client::Error;
use registry_types::{MediaType, RegistryHost};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::fake::{Fake, builder, content};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A server's configuration for `name`; with `clients`, certificates of this authority are demanded.
    fn server(&self, name: &str, clients: bool) -> Arc<rustls::ServerConfig> {
        let (chain, key) = self.sign(name, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = if clients {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(rustls_pki_types::CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
                .unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            config.with_no_client_auth()
        };
        let chain = rustls_pki_types::CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Arc::new(config.with_single_cert(vec![chain], key).unwrap())
    }

    fn file(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &self.pem).unwrap();
        file
    }
}

#[tokio::test]
async fn plain_http_is_found_on_loopback() {
    let fake = Fake::start().await;
    let found = builder().build().unwrap().check(&fake.host()).await.unwrap();
    assert_eq!(found, format!("http://{}/v2/", fake.address));
}

#[tokio::test]
async fn plain_http_elsewhere_is_refused_with_the_flag_that_allows_it() {
    let fake = Fake::start().await;
    let error = builder().build().unwrap().check(&fake.outside()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::InsecureRefused { .. }), "{text}");
    assert!(text.contains(&format!("--insecure-registry {}", fake.outside())), "{text}");
    assert!(fake.seen("GET", "").is_empty(), "nothing was asked in the clear");
    let any_port: RegistryHost = "0.0.0.0".parse().unwrap();
    let other_port: RegistryHost = "0.0.0.0:1".parse().unwrap();
    for (named, works) in [(fake.outside(), true), (any_port, true), (other_port, false)] {
        let client = builder().insecure([named]).build().unwrap();
        assert_eq!(client.check(&fake.outside()).await.is_ok(), works);
    }
}

#[tokio::test]
async fn https_comes_first_and_a_private_authority_must_be_known() {
    let authority = Authority::new();
    let fake = Fake::serve(|_| None, Some(authority.server("127.0.0.1", false))).await;
    let file = authority.file();
    let client = builder().authority_file(file.path()).build().unwrap();
    assert_eq!(client.check(&fake.host()).await.unwrap(), format!("https://{}/v2/", fake.address));
    let blob = fake.hold(&content(300_000));
    assert!(fake.repository(&client).blob_bytes(&blob.digest, 1 << 20).await.is_ok());
    // On loopback too: a certificate that is not trusted is no reason to try without one.
    let error = builder().build().unwrap().check(&fake.host()).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Tls { .. }), "{text}");
    assert!(text.contains("certs.d") && text.contains("SSL_CERT_FILE"), "{text}");
    let client = builder().insecure([fake.host()]).build().unwrap();
    assert!(client.check(&fake.host()).await.unwrap().starts_with("https://"));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_apart() {
    let authority = Authority::new();
    let fake = Fake::serve(|_| None, Some(authority.server("other.test", false))).await;
    let file = authority.file();
    let client = builder().authority_file(file.path()).build().unwrap();
    let text = client.check(&fake.host()).await.unwrap_err().to_string();
    assert!(text.contains("not for the name 127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_host_s_folder_holds_its_authority_and_our_certificate() {
    let authority = Authority::new();
    let fake = Fake::serve(|_| None, Some(authority.server("127.0.0.1", true))).await;
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(fake.address.to_string());
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("ca.crt"), &authority.pem).unwrap();
    let client = || builder().host_certificates(folder.path()).build().unwrap();
    assert!(client().check(&fake.host()).await.is_err(), "the server wants a certificate");
    let (certificate, key) = authority.sign("me", ExtendedKeyUsagePurpose::ClientAuth);
    std::fs::write(own.join("client.cert"), certificate).unwrap();
    let error = client().check(&fake.host()).await.unwrap_err();
    assert!(error.to_string().contains("client.key"), "{error}");
    std::fs::write(own.join("client.key"), key).unwrap();
    client().check(&fake.host()).await.unwrap();
}

#[tokio::test]
async fn nobody_there_is_a_network_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host: RegistryHost = listener.local_addr().unwrap().to_string().parse().unwrap();
    drop(listener);
    let error = builder().build().unwrap().check(&host).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(error.to_string().contains(host.as_str()));
}

#[tokio::test]
async fn tls_goes_through_a_proxy_by_connect() {
    let authority = Authority::new();
    let fake = Fake::serve(|_| None, Some(authority.server("0.0.0.0", false))).await;
    fake.hold_manifest("v1", MediaType::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap();
    let asked = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let target = request.split(' ').nth(1).unwrap().to_owned();
        let mut server = tokio::net::TcpStream::connect(&target).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        request
    });
    let file = authority.file();
    let client = builder()
        .authority_file(file.path())
        .proxies([("HTTPS_PROXY".to_owned(), format!("http://me:secret@{proxy}"))])
        .build()
        .unwrap();
    let repository = client.repository_at(fake.outside(), "root/app".parse().unwrap());
    repository.manifest(&"v1".parse().unwrap(), &[]).await.unwrap();
    drop((repository, client));
    let request = asked.await.unwrap();
    assert!(request.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", fake.outside())), "{request}");
    assert!(request.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n"), "{request}");
}
