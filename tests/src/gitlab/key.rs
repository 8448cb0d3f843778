//! The key that GitLab signs registry tokens with, as its packages make it.

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use data_encoding::{BASE32, BASE64URL_NOPAD};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize,
};
use time::{Duration, OffsetDateTime};

/// Ten years, as the package sets it.
const LIFE: Duration = Duration::days(3650);

/// An RSA key, its certificate and its name.
#[derive(Debug)]
pub struct GitLabKey {
    pair: RsaKeyPair,
    certificate: String,
    id: String,
}

impl GitLabKey {
    /// 4096 bits and a self-signed certificate, as omnibus makes them. Takes seconds.
    pub fn generate() -> Result<Self> {
        Self::of_size(RsaKeySize::_4096)
    }

    /// A smaller key, for somebody who is no GitLab.
    pub fn generate_small() -> Result<Self> {
        Self::of_size(RsaKeySize::_2048)
    }

    fn of_size(size: RsaKeySize) -> Result<Self> {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size)?;
        let pair = RsaKeyPair::from_pkcs8(&key.serialize_der())
            .map_err(|error| anyhow!("the new key is refused: {error}"))?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CountryName, "USA");
        name.push(DnType::OrganizationName, "GitLab");
        name.push(DnType::OrganizationalUnitName, "Container");
        name.push(DnType::CommonName, "Registry");
        params.distinguished_name = name;
        params.not_before = OffsetDateTime::now_utc();
        params.not_after = OffsetDateTime::now_utc() + LIFE;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { pair, certificate, id: key_id(&key.subject_public_key_info()) })
    }

    /// `rootcertbundle` of a registry that trusts this key.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// `kid`
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A JWT of these claims, as ruby-jwt puts it together.
    pub fn sign(&self, claims: &str) -> Result<String> {
        let header = format!(r#"{{"kid":"{}","typ":"JWT","alg":"RS256"}}"#, self.id);
        let message = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(header.as_bytes()),
            BASE64URL_NOPAD.encode(claims.as_bytes())
        );
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
            .map_err(|_| anyhow!("the key cannot sign"))
            .context("RS256")?;
        Ok(format!("{message}.{}", BASE64URL_NOPAD.encode(&signature)))
    }
}

/// libtrust's key id: base32 of the first 30 bytes of the SHA-256 of the DER `SubjectPublicKeyInfo`, that is 48
/// characters, with a colon after each 4.
fn key_id(info: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, info);
    let text = BASE32.encode(&hash.as_ref()[..30]);
    let groups: Vec<String> =
        text.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group).into_owned()).collect();
    groups.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_id_is_12_groups_of_4() {
        let id = key_id(b"any");
        assert_eq!(id.replace(':', "").len(), 48);
        assert!(id.split(':').all(|group| group.len() == 4));
    }
}
