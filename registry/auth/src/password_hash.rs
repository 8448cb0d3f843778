//! Stored password hashes: argon2id of our own making, and bcrypt as htpasswd files bring it. A hash is
//! checked when it is read, so that verifying can neither fail nor be made to take minutes.

use std::{fmt, str::FromStr};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::{PasswordHash as Phc, SaltString},
};
use bcrypt::HashParts;

use crate::{AuthError, Secret};

/// argon2id with 9 MiB, 4 passes, 1 lane: one of the settings of equal strength that OWASP's password storage
/// cheat sheet names (beside 19 MiB and 2 passes). With two computations at once this one keeps within the
/// 24 MiB the whole registry may grow by under load; either takes about 25 ms.
const MEMORY_KIB: u32 = 9 * 1024;
const PASSES: u32 = 4;
const LANES: u32 = 1;

/// What a hash from elsewhere may cost at most. Each bcrypt cost step doubles the time: 14 takes about a
/// second, 31 would take a day and a half.
const MOST_MEMORY_KIB: u32 = 64 * 1024;
const MOST_PASSES: u32 = 16;
const MOST_LANES: u32 = 4;
const MOST_BCRYPT_COST: u32 = 14;

/// Random bytes of salt (RFC 9106, 3.1).
const SALT_BYTES: usize = 16;

/// Longest password, in bytes: beyond what anybody types, short enough to hash in no time.
pub const LONGEST_PASSWORD: usize = 1024;

/// A hash that no password has: verifying against it takes as long as against a real one of ours.
const NOBODYS: &str =
    "$argon2id$v=19$m=9216,t=4,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The hash of a password, in the text form in which it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is of our own making, with today's settings. Others should be replaced when their password
    /// is known: at a successful login.
    pub fn is_current(&self) -> bool {
        self.0.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$"))
    }

    /// The hash that no password has.
    pub(crate) fn nobodys() -> Self {
        Self(NOBODYS.to_owned())
    }

    /// Hashes `password` with a new salt. Takes tens of milliseconds of a core and 9 MiB.
    pub(crate) fn of_blocking(password: &Secret) -> Result<Self, AuthError> {
        if password.expose().is_empty() {
            return Err(AuthError::Password { reason: "it is empty" });
        }
        if password.expose().len() > LONGEST_PASSWORD {
            return Err(AuthError::Password { reason: "it is longer than 1024 bytes" });
        }
        let failed = AuthError::Cryptography { doing: "the password could not be hashed" };
        let mut random = [0_u8; SALT_BYTES];
        aws_lc_rs::rand::fill(&mut random)
            .map_err(|_| AuthError::Cryptography { doing: "no random bytes could be had" })?;
        let Ok(salt) = SaltString::encode_b64(&random) else { return Err(failed) };
        let Ok(hasher) = hasher() else { return Err(failed) };
        match hasher.hash_password(password.expose().as_bytes(), &salt) {
            Ok(hash) => Ok(Self(hash.to_string())),
            Err(_) => Err(failed),
        }
    }

    /// Whether it is the hash of `password`. Takes as long as the hash demands; compares in constant time.
    pub(crate) fn verifies_blocking(&self, password: &Secret) -> bool {
        let password = password.expose().as_bytes();
        if self.0.starts_with("$2") {
            return bcrypt::verify(password, &self.0).unwrap_or(false);
        }
        Phc::new(&self.0).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
    }
}

fn hasher() -> Result<Argon2<'static>, argon2::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl FromStr for PasswordHash {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        let checked = if text.starts_with("$2") { check_bcrypt(text) } else { check_argon2(text) };
        match checked {
            Ok(()) => Ok(Self(text.to_owned())),
            Err(reason) => Err(AuthError::PasswordHash { reason }),
        }
    }
}

fn check_bcrypt(text: &str) -> Result<(), &'static str> {
    if text.starts_with("$2x$") {
        return Err("it is of the broken bcrypt variant 2x: make it again with `htpasswd -B`");
    }
    let parts: HashParts = text.parse().map_err(|_| "it is not a whole bcrypt hash of 60 characters")?;
    if !(4..=MOST_BCRYPT_COST).contains(&parts.get_cost()) {
        return Err("its bcrypt cost is not between 4 and 14: make it again with `htpasswd -B -C 10`");
    }
    Ok(())
}

fn check_argon2(text: &str) -> Result<(), &'static str> {
    const UNKNOWN: &str = "it is neither bcrypt nor argon2id: make it again with `htpasswd -B`";
    let hash = Phc::new(text).map_err(|_| UNKNOWN)?;
    if hash.algorithm != Algorithm::Argon2id.ident() || hash.version != Some(Version::V0x13.into()) {
        return Err(UNKNOWN);
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("its salt or its hash is missing");
    }
    let params = Params::try_from(&hash).map_err(|_| "its argon2 parameters are out of range")?;
    let bearable =
        params.m_cost() <= MOST_MEMORY_KIB && params.t_cost() <= MOST_PASSES && params.p_cost() <= MOST_LANES;
    if bearable { Ok(()) } else { Err("its argon2 parameters are above m=65536, t=16, p=4") }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        let password = Secret::new("correct horse");
        let hash = PasswordHash::of_blocking(&password).unwrap();
        assert!(hash.is_current() && hash.as_str().starts_with("$argon2id$v=19$m=9216,t=4,p=1$"));
        assert_eq!(hash.as_str().parse::<PasswordHash>().unwrap(), hash);
        assert!(hash.verifies_blocking(&password));
        for wrong in ["", "correct hors", "Correct horse", "correct horse "] {
            assert!(!hash.verifies_blocking(&Secret::new(wrong)), "{wrong:?} was taken");
        }
        let again = PasswordHash::of_blocking(&password).unwrap();
        assert!(again != hash, "the salt was used twice");
        assert!(!format!("{hash:?}").contains("argon2id"));
    }

    #[test]
    fn bcrypt_of_htpasswd_verifies() {
        let text =
            bcrypt::hash_with_salt("hunter2", 4, [7; 16]).unwrap().format_for_version(bcrypt::Version::TwoY);
        let hash: PasswordHash = text.parse().unwrap();
        assert!(!hash.is_current());
        assert!(hash.verifies_blocking(&Secret::new("hunter2")));
        assert!(!hash.verifies_blocking(&Secret::new("hunter3")));
    }

    #[test]
    fn nobodys_hash_costs_what_ours_cost_and_matches_nothing() {
        let nobodys: PasswordHash = NOBODYS.parse().unwrap();
        assert!(nobodys.is_current());
        assert!(!nobodys.verifies_blocking(&Secret::new("")));
    }

    #[test]
    fn hashes_that_are_weak_ruinous_or_broken_are_refused() {
        let argon2 = |what: &str| {
            format!("${what}$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
        };
        let cases = [
            ("$apr1$salt$hash".to_owned(), "neither bcrypt nor"),
            ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=".to_owned(), "neither bcrypt nor"),
            ("plain".to_owned(), "neither bcrypt nor"),
            (String::new(), "neither bcrypt nor"),
            ("$2y$10$short".to_owned(), "60 characters"),
            ("$2y$31$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u".to_owned(), "between 4 and 14"),
            ("$2x$10$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u".to_owned(), "2x"),
            (argon2("argon2i$v=19$m=9216,t=4,p=1"), "neither bcrypt nor"),
            (argon2("argon2id$v=16$m=9216,t=4,p=1"), "neither bcrypt nor"),
            (argon2("argon2id$v=19$m=4194304,t=4,p=1"), "above"),
            (argon2("argon2id$v=19$m=9216,t=1000,p=1"), "above"),
            ("$argon2id$v=19$m=9216,t=4,p=1".to_owned(), "missing"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<PasswordHash>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(text.is_empty() || !error.contains(&text), "the error repeats the hash");
        }
    }

    #[test]
    fn empty_and_endless_passwords_are_not_hashed() {
        for bad in [String::new(), "x".repeat(LONGEST_PASSWORD + 1)] {
            let refused = PasswordHash::of_blocking(&Secret::new(bad)).unwrap_err();
            assert!(matches!(refused, AuthError::Password { .. }));
        }
    }
}
