//! Query or form of a token request: repeated and encoded parameters, and the scopes in them.

use registry_auth::{MOST_SCOPES, parse_scopes};
use registry_http::fuzzing::{form_credentials, parameters};

pub(crate) fn run(input: &[u8]) {
    let text = super::text(input);
    for name in ["service", "scope", "account", "grant_type", "username", "password"] {
        let (all, first) = parameters(&text, name);
        assert_eq!(all.first(), first.as_ref(), "{name}");
        assert!(all.len() <= text.split('&').count());
    }
    let (scopes, _) = parameters(&text, "scope");
    assert!(parse_scopes(scopes.iter().map(String::as_str)).len() <= MOST_SCOPES);
    if let Some((name, password)) = form_credentials(&text) {
        assert_eq!(parameters(&text, "username").1, Some(name));
        assert_eq!(parameters(&text, "password").1, Some(password));
        assert_eq!(parameters(&text, "grant_type").1.as_deref(), Some("password"));
    }
}
