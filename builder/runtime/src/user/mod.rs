//! Users and groups of a root file system, and who a step or a copied file belongs to.

mod layered;
mod owner;
pub(crate) mod passwd;
pub(crate) mod resolve;
pub(crate) mod walk;

pub(crate) use layered::entry_at;

pub use owner::{Owner, resolve_owner};
