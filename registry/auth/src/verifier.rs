//! From a bearer token to the rights it gives, or to the one check it failed. A token that verified is
//! remembered until it expires, so a client's later requests cost one hash of the token.

use std::{
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;

use crate::{
    Access, AuthType, Identity, TrustedKeys, claims::Claims, compact::Unverified, recent::Recent,
    trust::unix_seconds,
};

/// How far clocks may differ: GitLab's and distribution's value.
pub const CLOCK_LEEWAY: Duration = Duration::from_mins(1);

/// Most verified tokens remembered. A client has one per repository for minutes, so this serves a few thousand
/// clients; at 1 KiB for a usual token it is 2 MiB. Only tokens of trusted signers get in.
const MOST_REMEMBERED: usize = 2048;

/// Longest piece of a token's text that an error repeats, in characters.
const SHOWN: usize = 96;

/// The check a token failed. For logs: it says how to mend a misconfiguration and repeats nothing of the token
/// beyond the name at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is longer than 16 KiB")]
    TooLong,
    #[error("the token is not a signed JSON web token of three parts")]
    Malformed,
    #[error("the token is not signed with RS256, the only algorithm accepted")]
    Algorithm,
    #[error("the token's header demands an extension (`crit`), and none is known")]
    CriticalExtension,
    #[error("the token's header says it is something else than a JWT")]
    Type,
    #[error("the token's certificate chain does not start with a certificate of an RSA key")]
    Certificate,
    #[error("the token's header holds a key that is not an RSA key")]
    Key,
    #[error("the token's header does not say which key signed it")]
    NoKey,
    #[error(
        "the token is signed with an unknown key {id:?}: check that the certificate given to the registry belongs \
         to the key the issuer signs with"
    )]
    UnknownKey { id: String },
    #[error("the token is signed with a key that was replaced")]
    RetiredKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token's issuer is {found:?}, this registry expects {expected:?}")]
    Issuer { found: String, expected: String },
    #[error("the token is not for the service {expected:?}")]
    Audience { expected: String },
    #[error("the token has no expiry")]
    NoExpiry,
    #[error("the token expired {seconds} s ago: if it is new, check the clocks")]
    Expired { seconds: i64 },
    #[error("the token is not valid for another {seconds} s: check the clocks")]
    NotYetValid { seconds: i64 },
}

/// The start of `text`, for an error.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[derive(Debug)]
struct Remembered {
    access: Access,
    until: SystemTime,
}

type TokenHash = [u8; digest::SHA256_OUTPUT_LEN];

/// Verifies the tokens of one issuer for one service.
#[derive(Debug)]
pub struct Verifier {
    issuer: String,
    service: String,
    trusted: RwLock<TrustedKeys>,
    /// By SHA-256 of the token. What is found here is as good as verified, so nothing weaker than a
    /// cryptographic hash will do; with the CPU's instructions it costs about a microsecond.
    remembered: Mutex<Recent<TokenHash, Remembered>>,
}

impl Verifier {
    /// A verifier of tokens whose `iss` is exactly `issuer` and whose `aud` includes `service`.
    pub fn new(issuer: impl Into<String>, service: impl Into<String>, trusted: TrustedKeys) -> Self {
        Self {
            issuer: issuer.into(),
            service: service.into(),
            trusted: RwLock::new(trusted),
            remembered: Mutex::new(Recent::new(MOST_REMEMBERED)),
        }
    }

    /// Trusts other keys from now on; tokens of keys no longer trusted are refused at once.
    pub fn replace_keys(&self, trusted: TrustedKeys) {
        let mut current = self.trusted.write().unwrap_or_else(PoisonError::into_inner);
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *current = trusted;
    }

    /// The keys trusted now.
    pub fn trusted(&self) -> TrustedKeys {
        self.trusted.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rights `token` gives at `now`. About a microsecond for a token seen before, and the time of one RSA
    /// verification (about 0.1 ms) for a new one, so it may be called on a worker.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Access, TokenError> {
        let hash = token_hash(token);
        if let Some(access) = self.recall(&hash, now) {
            return Ok(access);
        }
        // Held until the token is remembered, so that `replace_keys` cannot forget too early.
        let trusted = self.trusted.read().unwrap_or_else(PoisonError::into_inner);
        let (access, until) = self.check(&trusted, token, now)?;
        if now < until {
            let entry = Remembered { access: access.clone(), until };
            self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, entry);
        }
        Ok(access)
    }

    fn recall(&self, hash: &TokenHash, now: SystemTime) -> Option<Access> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = remembered.get_mut(hash)?;
        if now < entry.until {
            return Some(entry.access.clone());
        }
        remembered.remove(hash);
        None
    }

    /// The rights, and until when they may be remembered: the token's expiry without any leeway, or the moment
    /// its key stops being trusted.
    fn check(
        &self,
        trusted: &TrustedKeys,
        token: &str,
        now: SystemTime,
    ) -> Result<(Access, SystemTime), TokenError> {
        let unverified = Unverified::read(token)?;
        let key = trusted.find(&unverified.header, now)?;
        if !key.public.verifies(unverified.message.as_bytes(), &unverified.signature()?) {
            return Err(TokenError::Signature);
        }
        let claims: Claims = unverified.payload()?;
        let expiry = self.check_claims(&claims, unix_seconds(now))?;
        let until = key.until.map_or(expiry, |retired| retired.min(expiry));
        let identity = Identity {
            subject: claims.sub.filter(|subject| !subject.is_empty()),
            auth_type: claims.auth_type.unwrap_or(AuthType::None),
            user_token: claims.user,
        };
        Ok((Access::listed(identity, claims.access.unwrap_or_default()), until))
    }

    fn check_claims(&self, claims: &Claims, now: i64) -> Result<SystemTime, TokenError> {
        if claims.iss != self.issuer {
            return Err(TokenError::Issuer { found: shown(&claims.iss), expected: self.issuer.clone() });
        }
        if !claims.aud.includes(&self.service) {
            return Err(TokenError::Audience { expected: self.service.clone() });
        }
        let leeway = CLOCK_LEEWAY.as_secs().cast_signed();
        let expiry = claims.exp.ok_or(TokenError::NoExpiry)?;
        if now >= expiry.saturating_add(leeway) {
            return Err(TokenError::Expired { seconds: now.saturating_sub(expiry) });
        }
        let begin = claims.nbf.unwrap_or(0);
        if now < begin.saturating_sub(leeway) {
            return Err(TokenError::NotYetValid { seconds: begin.saturating_sub(now) });
        }
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(expiry.max(0).cast_unsigned()))
    }
}

fn token_hash(token: &str) -> TokenHash {
    let mut hash = [0; digest::SHA256_OUTPUT_LEN];
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests;
