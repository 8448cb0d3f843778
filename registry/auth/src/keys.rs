//! RSA keys and their names. Every public key has two: the libtrust id that GitLab writes, and the RFC 7638
//! thumbprint that distribution 3 writes; both are made from the key's numbers alone.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        KeyPair, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents, RsaSubjectPublicKey,
    },
};
use data_encoding::{BASE32, BASE64, BASE64URL_NOPAD};
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::{AuthError, Secret};

/// 3072 bits have the 128-bit strength that NIST SP 800-57 asks for past 2030, and a registry's key lives for
/// years. 4096, GitLab's size, would make signing twice as slow and every token 170 characters longer for no
/// gain that counts; 2048 ends in 2030.
const KEY_SIZE: KeySize = KeySize::Rsa3072;

/// The sizes RS256 is verified with, in bytes of the modulus: less is weak (RFC 7518, 3.3), more is an attack
/// on our time.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// How much of the SHA-256 a libtrust key id keeps, and how many characters stand between its colons.
const LIBTRUST_BYTES: usize = 30;
const LIBTRUST_GROUP: usize = 4;

/// Characters to a line of a PEM file (RFC 7468, 2).
const PEM_LINE: usize = 64;

/// An RSA public key that may be trusted for RS256.
pub struct PublicKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    info: Vec<u8>,
    key_id: String,
    thumbprint: String,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo` (RFC 5280); `what` names its origin in the error.
    pub fn from_info_der(der: &[u8], what: &str) -> Result<Self, AuthError> {
        let bad = |reason| AuthError::Key { what: what.to_owned(), reason };
        let key = RsaSubjectPublicKey::from_der(der)
            .map_err(|_| bad("it is not an RSA public key: GitLab and this registry sign with RS256"))?;
        let modulus = key.modulus().big_endian_without_leading_zero();
        let exponent = key.exponent().big_endian_without_leading_zero();
        Self::from_components(modulus, exponent, what)
    }

    fn from_components(modulus: &[u8], exponent: &[u8], what: &str) -> Result<Self, AuthError> {
        let bad = |reason| AuthError::Key { what: what.to_owned(), reason };
        if !MODULUS_BYTES.contains(&modulus.len()) {
            return Err(bad("an RSA key of 2048 to 8192 bits is needed"));
        }
        let components = RsaPublicKeyComponents { n: modulus, e: exponent };
        let info: PublicKeyX509Der<'_> =
            components.as_der().map_err(|_| bad("its numbers are not those of an RSA key"))?;
        let parsed = components
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| bad("its numbers are not those of an RSA key"))?;
        Ok(Self {
            key_id: libtrust_id(info.as_ref()),
            thumbprint: thumbprint(modulus, exponent),
            info: info.as_ref().to_vec(),
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
            parsed,
        })
    }

    /// The libtrust id, 12 groups of 4 characters: what GitLab and this registry write as `kid`.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The RFC 7638 SHA-256 thumbprint.
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The key as a PEM `PUBLIC KEY` block.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &self.info)
    }

    /// The key as an entry of a JWK set (RFC 7517), under the id that token headers carry.
    pub(crate) fn to_jwk(&self) -> Value {
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.key_id,
            "n": BASE64URL_NOPAD.encode(&self.modulus),
            "e": BASE64URL_NOPAD.encode(&self.exponent),
        })
    }

    /// Whether `signature` is an RS256 signature of `message` by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.key_id)
    }
}

/// SHA-256 over the DER `SubjectPublicKeyInfo`, its first 30 bytes in base32, a colon after each 4 characters.
fn libtrust_id(info: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, info);
    let kept: Vec<u8> = hash.as_ref().iter().copied().take(LIBTRUST_BYTES).collect();
    grouped(&BASE32.encode(&kept), LIBTRUST_GROUP, ":")
}

/// The thumbprint of RFC 7638, 3: SHA-256 over the required members in the order of their names.
pub(crate) fn thumbprint(modulus: &[u8], exponent: &[u8]) -> String {
    let (n, e) = (BASE64URL_NOPAD.encode(modulus), BASE64URL_NOPAD.encode(exponent));
    let canonical = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
}

/// `text`, which is ASCII, with `separator` between groups of `size` characters.
fn grouped(text: &str, size: usize, separator: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (at, character) in text.chars().enumerate() {
        if at > 0 && at % size == 0 {
            out.push_str(separator);
        }
        out.push(character);
    }
    out
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut base64 = Zeroizing::new(BASE64.encode(der));
    let body = Zeroizing::new(grouped(&base64, PEM_LINE, "\n"));
    base64.zeroize();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.as_str())
}

/// A key that signs tokens.
pub struct SigningKey {
    pair: RsaKeyPair,
    public: Arc<PublicKey>,
}

impl SigningKey {
    /// Makes a new key. Takes up to seconds of a core.
    pub fn generate_blocking() -> Result<Self, AuthError> {
        let pair = RsaKeyPair::generate(KEY_SIZE)
            .map_err(|_| AuthError::Cryptography { doing: "no RSA key could be made" })?;
        Self::new(pair, "the new signing key")
    }

    /// Reads a PEM `PRIVATE KEY` (PKCS #8) or `RSA PRIVATE KEY` (PKCS #1, as GitLab keeps its own); `what`
    /// names its origin in the error.
    pub fn from_pem(text: &[u8], what: &str) -> Result<Self, AuthError> {
        let bad = |reason| AuthError::Key { what: what.to_owned(), reason };
        let (kind, der) =
            <(SectionKind, Vec<u8>)>::from_pem_slice(text).map_err(|_| bad("it is not a PEM file"))?;
        let der = Zeroizing::new(der);
        let pair = match kind {
            SectionKind::PrivateKey => RsaKeyPair::from_pkcs8(&der),
            SectionKind::RsaPrivateKey => RsaKeyPair::from_der(&der),
            _ => return Err(bad("it holds no private key")),
        };
        Self::new(pair.map_err(|_| bad("it is not an RSA private key"))?, what)
    }

    fn new(pair: RsaKeyPair, what: &str) -> Result<Self, AuthError> {
        let public = PublicKey::from_info_der(pair.public_key().as_ref(), what)?;
        Ok(Self { pair, public: Arc::new(public) })
    }

    /// The key as a PEM `PRIVATE KEY` block (PKCS #8).
    pub fn to_pem(&self) -> Result<Secret, AuthError> {
        let der: Pkcs8V1Der<'_> = self
            .pair
            .as_der()
            .map_err(|_| AuthError::Cryptography { doing: "the signing key could not be encoded" })?;
        Ok(Secret::new(pem("PRIVATE KEY", der.as_ref())))
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn shared_public(&self) -> Arc<PublicKey> {
        Arc::clone(&self.public)
    }

    /// The RS256 signature of `message`. Takes about a millisecond of a core.
    pub(crate) fn sign_blocking(&self, message: &[u8]) -> Result<Vec<u8>, AuthError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| AuthError::Cryptography { doing: "the token could not be signed" })?;
        Ok(signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// The key of RFC 7638, 3.1, with the thumbprint stated there.
    #[test]
    fn the_thumbprint_is_that_of_the_rfc() {
        let modulus = BASE64URL_NOPAD
            .decode(
                b"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP\
                ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Qvzq\
                Y368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu\
                0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            )
            .unwrap();
        let key = PublicKey::from_components(&modulus, &[1, 0, 1], "the RFC's key").unwrap();
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn a_libtrust_id_is_48_characters_in_12_groups_of_the_hash() {
        let id = fixture::signing_key().public().key_id();
        let groups: Vec<&str> = id.split(':').collect();
        assert_eq!(groups.len(), 12);
        assert!(groups.iter().all(|group| group.len() == 4));
        let hash = digest::digest(&digest::SHA256, &fixture::signing_key().public().info);
        assert_eq!(BASE32.decode(groups.concat().as_bytes()).unwrap(), hash.as_ref()[..30]);
    }

    #[test]
    fn a_key_survives_its_file() {
        let key = fixture::signing_key();
        let text = key.to_pem().unwrap();
        assert!(text.expose().lines().all(|line| line.len() <= PEM_LINE));
        let read = SigningKey::from_pem(text.expose().as_bytes(), "the copy").unwrap();
        assert_eq!(read.public().key_id(), key.public().key_id());
        let signature = read.sign_blocking(b"message").unwrap();
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(!format!("{key:?}").contains("PRIVATE"));
        let (_, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(key.public().to_pem().as_bytes()).unwrap();
        assert_eq!(
            PublicKey::from_info_der(&der, "the copy").unwrap().thumbprint(),
            key.public().thumbprint()
        );
    }

    #[test]
    fn what_is_no_rsa_key_is_refused() {
        let elliptic = rcgen::KeyPair::generate().unwrap();
        for bad in ["", "nonsense", &elliptic.serialize_pem(), &fixture::signing_key().public().to_pem()] {
            assert!(SigningKey::from_pem(bad.as_bytes(), "a file").is_err());
        }
        assert!(PublicKey::from_info_der(b"\x30\x00", "a key").is_err());
        assert!(PublicKey::from_components(&[0xff; 128], &[1, 0, 1], "a 1024-bit key").is_err());
    }
}
