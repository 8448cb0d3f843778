//! Headers and claims of any shape, honestly signed: the first line is the header, the rest the claims. What is
//! accepted is what a plain reading of the JSON accepts, and gives what that gives.

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use data_encoding::{BASE64_MIME, BASE64URL_NOPAD};
use registry_auth::{Access, Delete, Pull, Push, TokenError, TrustedKeys, Verifier};
use registry_types::RepositoryName;
use serde_json::Value;

const ISSUER: &str = "omnibus-gitlab-issuer";
const SERVICE: &str = "container_registry";
/// The clock stands still, so that an input means the same on every day.
const NOW: u64 = 1_800_000_000;
const LEEWAY: f64 = 60.0;
/// In seeds, the id of the key that signs.
const KEY_ID: &str = "KID";

/// A key, and a verifier that trusts it alone.
pub(crate) struct Signer {
    key: RsaKeyPair,
    id: String,
    verifier: Verifier,
}

pub(crate) fn signer() -> &'static Signer {
    static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::new);
    &SIGNER
}

impl Signer {
    fn new() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("randomness");
        let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("an RSA key");
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}-----END PUBLIC KEY-----\n",
            BASE64_MIME.encode(public.as_ref()).replace('\r', "") + "\n"
        );
        let trusted = TrustedKeys::from_bundle(pem.as_bytes()).expect("a bundle");
        let id = trusted.key_ids().next().expect("one key").to_owned();
        Self { key, id, verifier: Verifier::new(ISSUER, SERVICE, trusted) }
    }

    /// An encoded header with the key's own id where a seed says so.
    pub(crate) fn named(&self, encoded: &str) -> String {
        match BASE64URL_NOPAD.decode(encoded.as_bytes()).map(String::from_utf8) {
            Ok(Ok(header)) => BASE64URL_NOPAD.encode(header.replace(KEY_ID, &self.id).as_bytes()),
            _ => encoded.to_owned(),
        }
    }

    pub(crate) fn verify(&self, token: &str) -> Result<Access, TokenError> {
        self.verifier.verify(token, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        let message = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .expect("an RSA key signs");
        format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

pub(crate) fn run(input: &[u8]) {
    let signer = signer();
    let (header, claims) = super::first_line(input);
    let header = super::text(header).replace(KEY_ID, &signer.id);
    let Ok(access) = signer.verify(&signer.sign(header.as_bytes(), claims)) else { return };

    let readings = (super::plain_reading(header.as_bytes()), super::plain_reading(claims));
    let (Some(header), Some(claims)) = readings else { return };
    assert_eq!(header["alg"], "RS256");
    assert!(header["crit"].is_null(), "an extension was skipped");
    assert_eq!(claims["iss"], ISSUER);
    let is_service = |name: &Value| name == SERVICE;
    let audience = &claims["aud"];
    assert!(is_service(audience) || audience.as_array().is_some_and(|all| all.iter().any(is_service)));
    assert!(claims["exp"].as_f64().is_some_and(|expiry| NOW as f64 - LEEWAY < expiry), "expired");
    let begin = &claims["nbf"];
    assert!(
        begin.is_null() || begin.as_f64().is_some_and(|begin| begin < NOW as f64 + LEEWAY + 1.0),
        "early"
    );

    assert_eq!(access.grant_catalog().is_ok(), given(&claims, "registry", "catalog", &["*"]));
    let named = claims["access"].as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str());
    for name in named.chain(["team/app"]) {
        let Ok(repository) = name.parse::<RepositoryName>() else { continue };
        let expected = |actions: &[&str]| given(&claims, "repository", name, actions);
        assert_eq!(access.grant::<Pull>(&repository).is_ok(), expected(&["pull"]), "pull {name}: {claims}");
        assert_eq!(access.grant::<Push>(&repository).is_ok(), expected(&["pull", "push"]), "push {name}");
        assert_eq!(access.grant::<Delete>(&repository).is_ok(), expected(&["delete"]), "delete {name}");
    }
}

/// Whether the entries of exactly this type and name hold all of `actions`, or `*`.
fn given(claims: &Value, kind: &str, name: &str, actions: &[&str]) -> bool {
    let entries = || {
        let all = claims["access"].as_array().into_iter().flatten();
        all.filter(|entry| entry["type"] == kind && entry["name"] == name)
    };
    let has = |action: &str| {
        entries()
            .any(|entry| entry["actions"].as_array().is_some_and(|all| all.iter().any(|own| own == action)))
    };
    actions.iter().all(|action| has(action) || has("*"))
}
