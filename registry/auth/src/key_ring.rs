//! The signing key with its predecessors, as one value: what a registry of several replicas keeps in its database,
//! and the folder of a single one in files.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls_pki_types::pem::{PemObject, SectionKind};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{AuthError, CLOCK_LEEWAY, PublicKey, SigningKey, TrustedKeys, trust::unix_seconds};

/// The public half of a key that signed before.
#[derive(Debug, Clone)]
pub(crate) struct RetiredKey {
    pub(crate) public: Arc<PublicKey>,
    /// Its tokens are accepted until then.
    pub(crate) until: SystemTime,
}

/// The signing key and its predecessors.
#[derive(Debug, Clone)]
pub struct KeyRing {
    pub(crate) signing: Arc<SigningKey>,
    pub(crate) retired: Vec<RetiredKey>,
}

/// The text form; `signing` is the private key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    signing: Zeroizing<String>,
    retired: Vec<RetiredText>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetiredText {
    /// Seconds since 1970.
    until: i64,
    public: String,
}

impl KeyRing {
    /// A ring with a new key. Takes some hundred milliseconds of computing.
    pub fn generate_blocking() -> Result<Self, AuthError> {
        Ok(Self { signing: Arc::new(SigningKey::generate_blocking()?), retired: Vec::new() })
    }

    /// The key that signs now.
    pub fn signing(&self) -> Arc<SigningKey> {
        Arc::clone(&self.signing)
    }

    /// The keys whose tokens are accepted: the signing key and those retired.
    pub fn trusted(&self) -> TrustedKeys {
        let mut trusted = TrustedKeys::default();
        trusted.insert(self.signing.shared_public(), None);
        for key in &self.retired {
            trusted.insert(Arc::clone(&key.public), Some(key.until));
        }
        trusted
    }

    /// The ring that signs with a new key from `now` on. Tokens of the old one, which live `lifetime` from their
    /// issue, are accepted until the last has expired, clock leeway included; with a `lifetime` of zero, for a key
    /// that leaked, they are refused at once. The old private key is not in the new ring.
    pub fn rotated_blocking(&self, lifetime: Duration, now: SystemTime) -> Result<Self, AuthError> {
        let mut retired: Vec<RetiredKey> =
            self.retired.iter().filter(|key| key.until > now).cloned().collect();
        if !lifetime.is_zero() {
            let until = now + lifetime + CLOCK_LEEWAY;
            retired.push(RetiredKey { public: self.signing.shared_public(), until });
        }
        Ok(Self { signing: Arc::new(SigningKey::generate_blocking()?), retired })
    }

    /// The ring as text, for whoever keeps secrets. It holds the private key.
    pub fn to_text(&self) -> Result<Zeroizing<String>, AuthError> {
        let retired = self
            .retired
            .iter()
            .map(|key| RetiredText { until: unix_seconds(key.until), public: key.public.to_pem() });
        let signing = Zeroizing::new(self.signing.to_pem()?.expose().to_owned());
        let text = Text { signing, retired: retired.collect() };
        let text = serde_json::to_string(&text).map_err(|_| broken("it cannot be written"))?;
        Ok(Zeroizing::new(text))
    }

    /// Reads what [`Self::to_text`] gave.
    ///
    /// # Errors
    /// [`AuthError::Key`] for anything else.
    pub fn from_text(text: &str) -> Result<Self, AuthError> {
        let text: Text = serde_json::from_str(text).map_err(|_| broken("it is not a key ring"))?;
        let signing = Arc::new(SigningKey::from_pem(text.signing.as_bytes(), WHAT)?);
        let mut retired = Vec::new();
        for key in &text.retired {
            let until = u64::try_from(key.until).ok();
            let until =
                until.and_then(|until| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(until)));
            let until = until.ok_or_else(|| broken("a retired key has no time"))?;
            retired.push(RetiredKey { public: Arc::new(public_key(key.public.as_bytes(), WHAT)?), until });
        }
        Ok(Self { signing, retired })
    }
}

const WHAT: &str = "the key ring of the database";

fn broken(reason: &'static str) -> AuthError {
    AuthError::Key { what: WHAT.to_owned(), reason }
}

/// Reads a public key in PEM form.
pub(crate) fn public_key(text: &[u8], what: &str) -> Result<PublicKey, AuthError> {
    let bad = |reason| AuthError::Key { what: what.to_owned(), reason };
    let (kind, der) = <(SectionKind, Vec<u8>)>::from_pem_slice(text)
        .map_err(|_| bad("it is not a PEM file: remove it, its tokens are refused then"))?;
    if kind != SectionKind::PublicKey {
        return Err(bad("it holds no public key: remove it, its tokens are refused then"));
    }
    PublicKey::from_info_der(&der, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_read_as_it_was_written() {
        let now = SystemTime::now();
        let ring = KeyRing::generate_blocking().unwrap();
        let ring = ring.rotated_blocking(Duration::from_secs(60), now).unwrap();
        let ring = ring.rotated_blocking(Duration::from_secs(60), now).unwrap();
        let text = ring.to_text().unwrap();
        assert_eq!(text.matches("PRIVATE KEY").count(), 2, "a retired private key is kept");
        let read = KeyRing::from_text(&text).unwrap();
        let ids = |ring: &KeyRing| ring.trusted().key_ids().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(ids(&read), ids(&ring));
        assert_eq!(ids(&read).len(), 3);
        assert_eq!(read.signing().public().key_id(), ring.signing().public().key_id());
        let later = ring.rotated_blocking(Duration::ZERO, now + Duration::from_secs(600)).unwrap();
        assert_eq!(ids(&later).len(), 1, "an expired key is dropped, a leaked one is gone");
    }

    #[test]
    fn what_is_no_ring_is_refused_without_being_shown() {
        for text in ["", "{}", "secret", r#"{"signing":"secret","retired":[]}"#] {
            let error = KeyRing::from_text(text).unwrap_err().to_string();
            assert!(error.contains("key ring") && !error.contains("secret"), "{error}");
        }
    }
}
