//! The `WWW-Authenticate` header: tells a client where to get which token. Clients read it with parsers of
//! their own making, so it is written byte for byte as distribution and GitLab write it.

use crate::{AuthError, Denied, DeniedReason, Scope};

/// Where tokens come from and what they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenger {
    /// `Bearer realm="...",service="..."`, the same for every challenge.
    start: String,
}

impl Challenger {
    /// `realm` is the URL of the token endpoint, `service` the audience its tokens must have.
    pub fn new(realm: &str, service: &str) -> Result<Self, AuthError> {
        check("token endpoint URL", realm)?;
        check("service name", service)?;
        Ok(Self { start: format!("Bearer realm=\"{realm}\",service=\"{service}\"") })
    }

    /// The header's value for a refused request.
    pub fn bearer(&self, denied: &Denied) -> String {
        let mut value = self.start.clone();
        let scopes: Vec<String> = Scope::merged(denied.needed()).iter().map(Scope::to_string).collect();
        if !scopes.is_empty() {
            value.push_str(",scope=\"");
            value.push_str(&scopes.join(" "));
            value.push('"');
        }
        value.push_str(match denied.reason() {
            DeniedReason::NoToken => "",
            DeniedReason::InvalidToken => ",error=\"invalid_token\"",
            DeniedReason::InsufficientScope => ",error=\"insufficient_scope\"",
        });
        value
    }
}

/// The header's value where a name and a password are asked for: at the token endpoint.
pub fn basic_challenge(realm: &str) -> Result<String, AuthError> {
    check("realm", realm)?;
    Ok(format!("Basic realm=\"{realm}\""))
}

/// A quoted string could hold more by escapes, which not every client undoes.
fn check(what: &'static str, text: &str) -> Result<(), AuthError> {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if !text.is_empty() && text.bytes().all(plain) {
        return Ok(());
    }
    Err(AuthError::ChallengeText { what, text: text.chars().take(64).collect() })
}

#[cfg(test)]
mod tests {
    use registry_types::RepositoryName;

    use super::*;
    use crate::{Access, Delete, Identity, MissingToken, Pull, Push};

    fn challenger() -> Challenger {
        Challenger::new("https://gitlab.iceymoss:5050/jwt/auth", "container_registry").unwrap()
    }

    fn repository(name: &str) -> RepositoryName {
        name.parse().unwrap()
    }

    const START: &str =
        r#"Bearer realm="https://gitlab.iceymoss:5050/jwt/auth",service="container_registry""#;

    #[test]
    fn challenges_are_byte_exact() {
        let none = Access::without_token(MissingToken::Absent);
        let bad = Access::without_token(MissingToken::Invalid);
        let poor = Access::listed(Identity::anonymous(), Vec::new());
        let cases = [
            (none.require_token().unwrap_err(), ""),
            (bad.require_token().unwrap_err(), r#",error="invalid_token""#),
            (none.grant::<Pull>(&repository("a/b")).unwrap_err(), r#",scope="repository:a/b:pull""#),
            (
                poor.grant::<Push>(&repository("a")).unwrap_err(),
                r#",scope="repository:a:pull,push",error="insufficient_scope""#,
            ),
            (
                poor.grant::<Delete>(&repository("a")).unwrap_err(),
                r#",scope="repository:a:delete",error="insufficient_scope""#,
            ),
            (none.grant_catalog().unwrap_err(), r#",scope="registry:catalog:*""#),
        ];
        for (denied, end) in cases {
            assert_eq!(challenger().bearer(&denied), format!("{START}{end}"));
        }
    }

    #[test]
    fn a_mount_names_both_repositories_once() {
        let none = Access::without_token(MissingToken::Absent);
        let push = || none.grant::<Push>(&repository("a")).unwrap_err();
        let mount = push().and(none.grant::<Pull>(&repository("b")).unwrap_err());
        assert_eq!(
            challenger().bearer(&mount),
            format!(r#"{START},scope="repository:a:pull,push repository:b:pull""#)
        );
        let same = push().and(none.grant::<Pull>(&repository("a")).unwrap_err());
        assert_eq!(challenger().bearer(&same), format!(r#"{START},scope="repository:a:pull,push""#));
    }

    #[test]
    fn text_that_would_break_the_header_is_refused() {
        for bad in ["", "a\"b", "a\\b", "a\r\nSet-Cookie: x", "é"] {
            assert!(Challenger::new(bad, "service").is_err(), "{bad:?} was taken as realm");
            assert!(Challenger::new("https://host/jwt/auth", bad).is_err(), "{bad:?} was taken as service");
            assert!(basic_challenge(bad).is_err());
        }
        assert_eq!(basic_challenge("Slipway").unwrap(), r#"Basic realm="Slipway""#);
    }
}
