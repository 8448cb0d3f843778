//! Authorization towards a registry: what it asks for (`challenge`), for what rights (`scope`), and how the
//! token comes (`token`). Credentials go to the registry itself and to the realm it names, nowhere else.

mod challenge;
mod scope;
mod token;

pub use challenge::{Challenge, parse_challenges};
pub(crate) use scope::{Scope, ScopeSet};
pub(crate) use token::{DEFAULT_LIFE, Mode, Token, TokenCache};
