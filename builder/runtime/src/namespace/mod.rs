//! The user and mount namespace the whole builder works in.

mod enter;
mod id_map;
mod subordinate;

pub(crate) use enter::entered;
pub use enter::{BuilderNamespace, Privilege, enter_builder_namespace};
pub use id_map::{IdMap, IdRange};
