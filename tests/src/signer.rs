//! A maker of tokens that holds a registry's own key, or a stranger's: it signs whatever it is told, with any
//! algorithm, and shares no code with the product.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding, RsaKeyPair},
};
use data_encoding::{BASE32, BASE64, BASE64URL_NOPAD};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize,
};
use serde_json::{Value, json};

/// An RSA key and its names.
#[derive(Debug)]
pub struct Signer {
    pair: RsaKeyPair,
    key: KeyPair,
    id: String,
}

impl Signer {
    /// A key that nobody trusts yet, of the smallest size that is accepted.
    pub fn generate() -> Result<Self> {
        Self::new(KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?)
    }

    /// The key in a PEM file, such as the one that a registry signs with.
    pub fn read(file: &Path) -> Result<Self> {
        let pem = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::new(KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256)?)
    }

    fn new(key: KeyPair) -> Result<Self> {
        let pair = RsaKeyPair::from_pkcs8(&key.serialize_der())
            .map_err(|error| anyhow!("the key is refused: {error}"))?;
        let hash = digest::digest(&digest::SHA256, &key.subject_public_key_info());
        let text = BASE32.encode(&hash.as_ref()[..30]);
        let groups: Vec<&str> =
            text.as_bytes().chunks(4).filter_map(|group| std::str::from_utf8(group).ok()).collect();
        let id = groups.join(":");
        Ok(Self { pair, key, id })
    }

    /// libtrust's id of the key.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The RFC 7638 thumbprint.
    pub fn thumbprint(&self) -> String {
        let (modulus, exponent) = self.numbers();
        let canonical = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
        BASE64URL_NOPAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        let (modulus, exponent) = self.numbers();
        json!({"kty": "RSA", "n": modulus, "e": exponent})
    }

    /// Modulus and exponent as a JWK writes them.
    pub fn numbers(&self) -> (String, String) {
        let public = self.pair.public_key();
        let (modulus, exponent) = (public.modulus(), public.exponent());
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        (text(modulus.big_endian_without_leading_zero()), text(exponent.big_endian_without_leading_zero()))
    }

    /// The public key, DER.
    pub fn public_der(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    /// The public key, PEM.
    pub fn public_pem(&self) -> String {
        self.key.public_key_pem()
    }

    /// A self-signed certificate, DER and PEM.
    pub fn certificate(&self) -> Result<(Vec<u8>, String)> {
        let certificate = CertificateParams::default().self_signed(&self.key)?;
        Ok((certificate.der().to_vec(), certificate.pem()))
    }

    /// The certificate in base64, as `x5c` has it.
    pub fn x5c(&self) -> Result<String> {
        Ok(BASE64.encode(&self.certificate()?.0))
    }

    /// A certificate of another key that this key signs as an authority, as `x5c` has it.
    pub fn issue_x5c(&self, other: &Self) -> Result<String> {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::from_params(&authority, &self.key);
        Ok(BASE64.encode(CertificateParams::default().signed_by(&other.key, &issuer)?.der()))
    }

    /// The header that GitLab writes.
    pub fn header(&self) -> Value {
        json!({"kid": self.id, "typ": "JWT", "alg": "RS256"})
    }

    /// An RS256 token of any header and claims.
    pub fn sign(&self, header: &str, claims: &str) -> Result<String> {
        self.sign_with(&RSA_PKCS1_SHA256, header, claims)
    }

    /// A token signed with another padding or hash, whatever its header says.
    pub fn sign_with(
        &self,
        encoding: &'static dyn RsaEncoding,
        header: &str,
        claims: &str,
    ) -> Result<String> {
        let message = message(header, claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| anyhow!("the key cannot sign"))?;
        Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

/// A token signed with a shared secret.
pub fn sign_with_secret(algorithm: hmac::Algorithm, secret: &[u8], header: &str, claims: &str) -> String {
    let message = message(header, claims);
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}

/// Header and claims, encoded and not signed.
pub fn message(header: &str, claims: &str) -> String {
    format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()))
}
