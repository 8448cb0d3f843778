//! The public keys whose tokens are accepted, found by what a token's header says. A header only ever selects
//! among trusted keys; no key, certificate or URL in it is trusted for itself.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use data_encoding::{BASE64, BASE64URL_NOPAD};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use x509_parser::parse_x509_certificate;

use crate::{
    AuthError, PublicKey, TokenError,
    compact::{Header, Jwk},
    keys::thumbprint,
    verifier::shown,
};

/// Largest certificate bundle, in bytes. One certificate takes 2 KiB.
const LARGEST_BUNDLE: usize = 1024 * 1024;

/// A key and how long it is trusted.
#[derive(Debug)]
pub(crate) struct TrustedKey {
    pub(crate) public: Arc<PublicKey>,
    /// A retired key is trusted before this moment only.
    pub(crate) until: Option<SystemTime>,
}

impl TrustedKey {
    pub(crate) fn holds_at(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The keys whose tokens are accepted. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub struct TrustedKeys {
    keys: Vec<Arc<TrustedKey>>,
    /// Every key under both of its names.
    by_id: HashMap<String, Arc<TrustedKey>>,
}

impl TrustedKeys {
    /// Reads a PEM bundle: the `rootcertbundle` of GitLab and distribution. `CERTIFICATE` blocks give their
    /// public key, `PUBLIC KEY` blocks are one. Dates and names in certificates do not count, as they do not
    /// for GitLab: the bundle is a list of keys in the wrapping that GitLab makes.
    pub fn from_bundle(text: &[u8]) -> Result<Self, AuthError> {
        let bad = |reason: String| AuthError::Bundle { reason };
        if text.len() > LARGEST_BUNDLE {
            return Err(bad("it is larger than 1 MiB".to_owned()));
        }
        let mut trusted = Self::default();
        for (number, block) in (1..).zip(<(SectionKind, Vec<u8>)>::pem_slice_iter(text)) {
            let (kind, der) = block.map_err(|_| bad(format!("block {number} is not valid PEM")))?;
            let what = format!("block {number} of the certificate bundle");
            let public = match kind {
                SectionKind::Certificate => PublicKey::from_info_der(
                    certificate_info(&der).ok_or_else(|| bad(format!("block {number} is no certificate")))?,
                    &what,
                )?,
                SectionKind::PublicKey => PublicKey::from_info_der(&der, &what)?,
                SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                    return Err(bad(format!(
                        "block {number} is a private key: give the certificate only, the key stays with GitLab"
                    )));
                }
                _ => return Err(bad(format!("block {number} is neither a certificate nor a public key"))),
            };
            trusted.insert(Arc::new(public), None);
        }
        if trusted.keys.is_empty() {
            return Err(
                bad("it holds no certificate: give the PEM file GitLab signs tokens with".to_owned()),
            );
        }
        Ok(trusted)
    }

    /// Trusts `public`, for good or before `until`.
    pub(crate) fn insert(&mut self, public: Arc<PublicKey>, until: Option<SystemTime>) {
        let names = [public.key_id().to_owned(), public.thumbprint().to_owned()];
        let key = Arc::new(TrustedKey { public, until });
        self.by_id.extend(names.map(|name| (name, Arc::clone(&key))));
        self.keys.push(key);
    }

    /// The libtrust ids of the keys, for logs.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.public.key_id())
    }

    /// The JWK set (RFC 7517) of the keys trusted at `now`.
    pub fn to_jwks(&self, now: SystemTime) -> Value {
        let keys: Vec<Value> =
            self.keys.iter().filter(|key| key.holds_at(now)).map(|key| key.public.to_jwk()).collect();
        json!({ "keys": keys })
    }

    /// The key a header names: by certificate chain, else by key, else by id, in distribution's order. What
    /// comes first decides: a chain that is not trusted is not saved by a good id after it.
    ///
    /// Of a chain only the first certificate, the one that would have signed, is looked at, and its key must
    /// itself be trusted. Building a path to a certificate authority is left out on purpose: no GitLab sends
    /// a chain, and a bundle with a company's authority in it would let any certificate of that authority
    /// sign tokens. A trusted certificate further up proves nothing, as anyone may append one.
    pub(crate) fn find(&self, header: &Header, now: SystemTime) -> Result<&TrustedKey, TokenError> {
        let id = match header {
            Header { x5c: Some(chain), .. } if !chain.is_empty() => {
                chain.first().and_then(|leaf| certificate_thumbprint(leaf)).ok_or(TokenError::Certificate)?
            }
            Header { jwk: Some(jwk), .. } => jwk_thumbprint(jwk).ok_or(TokenError::Key)?,
            Header { kid: Some(kid), .. } if !kid.is_empty() => kid.clone(),
            _ => return Err(TokenError::NoKey),
        };
        let key = self.by_id.get(&id).ok_or_else(|| TokenError::UnknownKey { id: shown(&id) })?;
        if key.holds_at(now) { Ok(key) } else { Err(TokenError::RetiredKey) }
    }
}

/// The DER `SubjectPublicKeyInfo` within a DER certificate.
fn certificate_info(der: &[u8]) -> Option<&[u8]> {
    let (_, certificate) = parse_x509_certificate(der).ok()?;
    Some(certificate.tbs_certificate.subject_pki.raw)
}

fn certificate_thumbprint(base64: &str) -> Option<String> {
    let der = BASE64.decode(base64.as_bytes()).ok()?;
    let public = PublicKey::from_info_der(certificate_info(&der)?, "a certificate of the token").ok()?;
    Some(public.thumbprint().to_owned())
}

/// Leading zeros are taken off: a key has one name however it is written.
fn jwk_thumbprint(jwk: &Jwk) -> Option<String> {
    if jwk.kty != "RSA" {
        return None;
    }
    let number = |text: &Option<String>| BASE64URL_NOPAD.decode(text.as_deref()?.as_bytes()).ok();
    let (modulus, exponent) = (number(&jwk.n)?, number(&jwk.e)?);
    let start = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == 0).count();
    Some(thumbprint(&modulus[start(&modulus)..], &exponent[start(&exponent)..]))
}

/// Seconds since 1970, as tokens count time; before it, zero.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_bundle_gives_the_keys_of_its_certificates_and_public_keys() {
        let certificate = fixture::certificate(fixture::signing_key()).pem();
        let bundle = format!("{certificate}\n{}", fixture::other_key().public().to_pem());
        let trusted = TrustedKeys::from_bundle(bundle.as_bytes()).unwrap();
        let expected = [fixture::signing_key().public().key_id(), fixture::other_key().public().key_id()];
        assert_eq!(trusted.key_ids().collect::<Vec<_>>(), expected);
        for key in [fixture::signing_key(), fixture::other_key()] {
            for id in [key.public().key_id(), key.public().thumbprint()] {
                let header = Header { kid: Some(id.to_owned()), ..fixture::header() };
                let found = trusted.find(&header, SystemTime::now()).unwrap();
                assert_eq!(found.public.key_id(), key.public().key_id());
            }
        }
    }

    #[test]
    fn a_useless_bundle_is_refused_with_the_mend() {
        let private = fixture::signing_key().to_pem().unwrap();
        let elliptic = rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem();
        let certificate = fixture::certificate(fixture::signing_key()).pem();
        let cut = certificate.replace("-----END", "-----DNE");
        let cases = [
            (String::new(), "no certificate"),
            ("text".to_owned(), "no certificate"),
            (private.expose().to_owned(), "private key"),
            (elliptic, "not an RSA public key"),
            (cut, "block 1"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), "no certificate"),
            ("x".repeat(LARGEST_BUNDLE + 1), "1 MiB"),
        ];
        for (bundle, reason) in cases {
            let error = TrustedKeys::from_bundle(bundle.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_retired_key_leaves_the_set_when_its_time_has_come() {
        let now = SystemTime::now();
        let mut trusted = TrustedKeys::default();
        let key = || TrustedKeys::from_bundle(fixture::other_key().public().to_pem().as_bytes());
        assert_eq!(key().unwrap().to_jwks(now)["keys"][0]["kid"], fixture::other_key().public().key_id());
        trusted.insert(fixture::public(fixture::other_key()), Some(now + Duration::from_secs(10)));
        assert_eq!(trusted.to_jwks(now)["keys"].as_array().unwrap().len(), 1);
        let later = now + Duration::from_secs(10);
        assert_eq!(trusted.to_jwks(later)["keys"].as_array().unwrap().len(), 0);
        let kid = Some(fixture::other_key().public().key_id().to_owned());
        let header = Header { kid, ..fixture::header() };
        assert!(trusted.find(&header, now).is_ok());
        assert_eq!(trusted.find(&header, later).unwrap_err(), TokenError::RetiredKey);
    }
}
