//! What of the parsers of answers a fuzzer gets to see. Only with the cargo feature `fuzzing`, which no product
//! turns on.

use crate::auth::{Challenge, parse_challenges};

/// The target of the `next` link in a value of `Link`.
pub fn next_target(header: &str) -> Option<&str> {
    crate::link::next_target(header)
}

/// The realms of the bearer challenges in a value of `WWW-Authenticate`.
pub fn bearer_realms(header: &str) -> Vec<String> {
    let realm = |challenge| match challenge {
        Challenge::Bearer { realm, .. } => Some(realm),
        Challenge::Basic => None,
    };
    parse_challenges(header).into_iter().filter_map(realm).collect()
}
