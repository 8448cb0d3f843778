//! Issues tokens: RS256, with GitLab's claims and key id, so that whatever reads GitLab's tokens reads ours.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

use crate::{
    AuthError, GrantedScopes, Identity, Secret, SigningKey,
    claims::{Audience, Claims},
    compact,
    trust::unix_seconds,
};

/// How long a token lives unless configured. GitLab's 5 minutes end in the middle of long uploads, which many
/// clients do not survive; gitlab.com gives 15.
pub const TOKEN_LIFETIME: Duration = Duration::from_mins(15);

/// How long before its issue a token is valid, for verifiers whose clock is a little behind; GitLab's value.
const VALID_BEFORE_ISSUE: i64 = 5;

/// The token endpoint's answer (distribution's token specification). `token` and `access_token` are the same:
/// older clients read the one, OAuth2 clients the other. There is no refresh token: clients keep the password.
#[derive(Debug, Serialize)]
pub struct IssuedToken {
    #[serde(serialize_with = "exposed")]
    token: Secret,
    #[serde(serialize_with = "exposed")]
    access_token: Secret,
    /// Seconds.
    expires_in: u64,
    /// RFC 3339, in UTC.
    issued_at: String,
}

impl IssuedToken {
    pub fn token(&self) -> &Secret {
        &self.token
    }
}

fn exposed<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Issues tokens in the name of one issuer for one service.
#[derive(Debug, Clone)]
pub struct Issuer {
    issuer: String,
    service: String,
    lifetime: Duration,
}

impl Issuer {
    /// `issuer` becomes `iss`, `service` `aud`: the names the verifier expects.
    pub fn new(issuer: impl Into<String>, service: impl Into<String>, lifetime: Duration) -> Self {
        Self { issuer: issuer.into(), service: service.into(), lifetime }
    }

    /// The service tokens are for. A request for another gets none.
    pub fn service(&self) -> &str {
        &self.service
    }

    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A token for `identity` that gives `granted`, signed with `key`. Takes about a millisecond of a core.
    pub fn issue_blocking(
        &self,
        key: &SigningKey,
        identity: &Identity,
        granted: &GrantedScopes,
        now: SystemTime,
    ) -> Result<IssuedToken, AuthError> {
        let issued = unix_seconds(now);
        let lifetime = self.lifetime.as_secs();
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: Audience::One(self.service.clone()),
            sub: identity.subject.clone(),
            iat: Some(issued),
            nbf: Some(issued - VALID_BEFORE_ISSUE),
            exp: Some(issued.saturating_add_unsigned(lifetime)),
            jti: Some(Uuid::new_v4().to_string()),
            auth_type: Some(identity.auth_type.clone()),
            access: Some(granted.entries()),
            user: identity.user_token.clone(),
        };
        let token = Secret::new(compact::sign_blocking(&claims, key)?);
        let issued_at = OffsetDateTime::from_unix_timestamp(issued)
            .ok()
            .and_then(|moment| moment.format(&Rfc3339).ok())
            .ok_or(AuthError::Cryptography { doing: "the clock shows no date a token can have" })?;
        Ok(IssuedToken { access_token: token.clone(), token, expires_in: lifetime, issued_at })
    }
}
