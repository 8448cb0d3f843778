//! Credentials to identity, scopes to grants, tokens issued and verified.
//!
//! Everything here is logic over values: no HTTP, no storage. A request's rights are an [`Access`]; the only
//! thing that opens the registry's use cases is a [`Grant`] or a [`CatalogGrant`], and only an [`Access`] of
//! this crate makes one.

mod access;
mod challenge;
mod claims;
mod compact;
mod error;
#[cfg(test)]
mod fixture;
mod gitlab;
mod grant;
mod htpasswd;
mod identity;
mod issuer;
mod key_ring;
mod key_store;
mod keys;
mod logins;
mod password_hash;
mod recent;
mod rules;
mod scope;
mod secret;
mod throttle;
mod trust;
mod verifier;

pub use access::{Access, AccessEntry, Denied, DeniedReason, MissingToken};
pub use challenge::{Challenger, basic_challenge};
pub use error::AuthError;
pub use gitlab::{GITLAB_ISSUER, GITLAB_SERVICE, GitLab, GitLabConfig};
pub use grant::{CatalogGrant, Delete, Grant, Permission, Pull, Push};
pub use htpasswd::{HtpasswdError, parse_htpasswd};
pub use identity::{AuthType, Identity, UserToken};
pub use issuer::{IssuedToken, Issuer, TOKEN_LIFETIME};
pub use key_ring::KeyRing;
pub use key_store::KeyStore;
pub use keys::{PublicKey, SigningKey};
pub use logins::{LoginError, Logins};
pub use password_hash::{LONGEST_PASSWORD, PasswordHash};
pub use rules::{Account, GrantedScopes, decide};
pub use scope::{MOST_SCOPES, Scope, ScopeActions, parse_scopes};
pub use secret::Secret;
pub use trust::TrustedKeys;
pub use verifier::{CLOCK_LEEWAY, TokenError, Verifier};
