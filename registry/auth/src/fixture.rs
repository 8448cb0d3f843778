//! Keys and tokens for this crate's tests. The keys are made once per run: making one takes long.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use data_encoding::BASE64URL_NOPAD;
use rcgen::{CertificateParams, DistinguishedName, DnType};
use serde_json::{Value, json};

use crate::{PublicKey, SigningKey, compact::Header};

pub(crate) const ISSUER: &str = "omnibus-gitlab-issuer";
pub(crate) const SERVICE: &str = "container_registry";

/// The moment the tests happen at.
pub(crate) const NOW: i64 = 1_795_000_000;

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.cast_unsigned())
}

pub(crate) fn signing_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate_blocking().unwrap())
}

/// A key that nobody trusts unless a test says so.
pub(crate) fn other_key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(|| SigningKey::generate_blocking().unwrap())
}

pub(crate) fn public(key: &SigningKey) -> Arc<PublicKey> {
    key.shared_public()
}

/// A self-signed certificate like the one GitLab's packages make.
pub(crate) fn certificate(key: &SigningKey) -> rcgen::Certificate {
    let pair = rcgen_pair(key);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, text) in [
        (DnType::CountryName, "USA"),
        (DnType::OrganizationName, "GitLab"),
        (DnType::OrganizationalUnitName, "Container"),
        (DnType::CommonName, "Registry"),
    ] {
        params.distinguished_name.push(kind, text);
    }
    params.self_signed(&pair).unwrap()
}

pub(crate) fn rcgen_pair(key: &SigningKey) -> rcgen::KeyPair {
    rcgen::KeyPair::from_pkcs8_pem_and_sign_algo(key.to_pem().unwrap().expose(), &rcgen::PKCS_RSA_SHA256)
        .unwrap()
}

/// An empty RS256 header.
pub(crate) fn header() -> Header {
    serde_json::from_value(json!({"alg": "RS256"})).unwrap()
}

/// Signs any header and claims with RS256, as a stranger's code would.
pub(crate) fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    sign_text(key, &header.to_string(), &claims.to_string())
}

pub(crate) fn sign_text(key: &SigningKey, header: &str, claims: &str) -> String {
    let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = key.sign_blocking(message.as_bytes()).unwrap();
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// GitLab's header for `key`.
pub(crate) fn gitlab_header(key: &SigningKey) -> Value {
    json!({"kid": key.public().key_id(), "typ": "JWT", "alg": "RS256"})
}

/// The claims GitLab gives a user that pushes to `root/app`.
pub(crate) fn gitlab_claims() -> Value {
    json!({
        "access": [{
            "type": "repository",
            "name": "root/app",
            "actions": ["pull", "push"],
            "meta": {"project_path": "root/app", "project_id": 7, "root_namespace_id": 1},
        }],
        "jti": "a0b1c2d3-0000-4000-8000-000000000001",
        "aud": SERVICE,
        "sub": "root",
        "iss": ISSUER,
        "iat": NOW,
        "nbf": NOW - 5,
        "exp": NOW + 300,
        "auth_type": "gitlab_or_ldap",
        "user": "eyJhbGciOiJSUzI1NiJ9.eyJ1c2VyX2luZm8iOnt9fQ.c2ln",
    })
}
