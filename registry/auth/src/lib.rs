//! Credentials to identity, scopes to grants, tokens issued and verified.
//!
//! Everything here is logic over values: no HTTP, no storage. A request's rights are an [`Access`]; the only
//! thing that opens the registry's use cases is a [`Grant`] or a [`CatalogGrant`], and only an [`Access`] of
//! this crate makes one.

mod access;
mod grant;
mod identity;
mod scope;

pub use access::{Access, AccessEntry, Denied, DeniedReason, MissingToken};
pub use grant::{CatalogGrant, Delete, Grant, Permission, Pull, Push};
pub use identity::{AuthType, Identity, UserToken};
pub use scope::{MOST_SCOPES, Scope, ScopeActions, parse_scopes};
