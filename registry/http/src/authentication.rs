//! Who may call: from a request's `Authorization` header to its rights, and from a refusal to its challenge.
//! No answer here says whether a repository exists.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, StatusCode, header, request::Parts};
use registry_auth::{Access, Account, Denied, DeniedReason, GitLab, Identity, MissingToken, Scope, decide};
use registry_blobs::BlobStore;
use registry_core::{CoreError, Registry};
use registry_metadata::Metadata;
use registry_types::{AccessRule, Action, ActionSet, ErrorCode, RepositoryName};
use serde_json::json;

use crate::{caller::Caller, error::HttpError, token_server::TokenServer};

/// How the registry knows its callers. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Authenticator(Arc<Mode>);

#[derive(Debug)]
enum Mode {
    Open,
    Token(TokenServer),
    Gitlab(Box<GitLab>),
}

impl Authenticator {
    /// Every caller may do everything. Only for a registry that nobody else can reach.
    pub fn open() -> Self {
        Self(Arc::new(Mode::Open))
    }

    /// The registry issues its tokens itself.
    pub fn token_server(server: TokenServer) -> Self {
        Self(Arc::new(Mode::Token(server)))
    }

    /// A GitLab issues the tokens, and clients are sent to it.
    pub fn gitlab(gitlab: GitLab) -> Self {
        Self(Arc::new(Mode::Gitlab(Box::new(gitlab))))
    }

    pub(crate) fn server(&self) -> Option<&TokenServer> {
        match &*self.0 {
            Mode::Token(server) => Some(server),
            Mode::Open | Mode::Gitlab(_) => None,
        }
    }

    /// The rights of a request. One without a good token has none, and is refused where a right is needed.
    pub(crate) fn authenticate(&self, caller: &Caller, headers: &HeaderMap) -> Access {
        let verifier = match &*self.0 {
            Mode::Open => return Access::unrestricted(Identity::anonymous()),
            Mode::Token(server) => server.verifier(),
            Mode::Gitlab(gitlab) => gitlab.verifier(),
        };
        let token = authorization(headers).and_then(|value| bearer(value).ok_or(MissingToken::Absent));
        let token = match token {
            Ok(token) => token,
            Err(missing) => return Access::without_token(missing),
        };
        verifier.verify(token, SystemTime::now()).unwrap_or_else(|error| {
            tracing::info!(request = %caller.id, peer = %caller.address, %error, "a token was refused");
            Access::without_token(MissingToken::Invalid)
        })
    }

    /// Whether a token that the caller asks for now would give pull on `repository`. A GitLab cannot be asked.
    pub(crate) async fn would_grant_pull<M: Metadata, B: BlobStore>(
        &self,
        registry: &Registry<M, B>,
        access: &Access,
        repository: &RepositoryName,
    ) -> Result<bool, CoreError> {
        if self.server().is_none() {
            return Ok(false);
        }
        let name = access.identity().subject.as_ref().and_then(|subject| subject.parse().ok());
        let account = match &name {
            Some(name) => registry.account(name).await?,
            None => None,
        };
        let rules: Vec<AccessRule> = registry.rules().await?.iter().map(|row| row.rule.clone()).collect();
        let asking = account.as_ref().map(|account| Account { name: &account.name, admin: account.admin });
        let wanted = Scope::repository(repository.clone(), ActionSet::NONE.with(Action::Pull));
        Ok(!decide(asking, &rules, &[wanted]).is_empty())
    }

    /// The answer to a caller who lacks a right: 401, a challenge, and what was needed.
    pub(crate) fn denied(&self, caller: &Caller, parts: &Parts, denied: &Denied) -> HttpError {
        let challenge = match &*self.0 {
            Mode::Open => None,
            Mode::Token(server) => {
                server.challenger(caller, parts).map(|challenger| challenger.bearer(denied))
            }
            Mode::Gitlab(gitlab) => Some(gitlab.challenger().bearer(denied)),
        };
        let needed: Vec<String> = denied.needed().iter().map(ToString::to_string).collect();
        let error = HttpError::new(StatusCode::UNAUTHORIZED, code(denied.reason()), denied.to_string())
            .with_detail(json!({ "needed": needed }));
        match challenge {
            Some(challenge) => error.with_header(header::WWW_AUTHENTICATE, &challenge),
            None => error,
        }
    }
}

/// Docker prints the message of `DENIED` to its user and takes `UNAUTHORIZED` for a reason to log in.
fn code(reason: DeniedReason) -> ErrorCode {
    match reason {
        DeniedReason::NoToken | DeniedReason::InvalidToken => ErrorCode::Unauthorized,
        DeniedReason::InsufficientScope => ErrorCode::Denied,
    }
}

/// The value of `Authorization`, which stands once in a request (RFC 9110 section 5.3). Of two, a proxy in front
/// of us may have checked one and we would take the other, so neither counts.
pub(crate) fn authorization(headers: &HeaderMap) -> Result<&str, MissingToken> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(MissingToken::Absent)?;
    match (value.to_str(), values.next()) {
        (Ok(value), None) => Ok(value),
        _ => Err(MissingToken::Invalid),
    }
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1; the scheme's case does not count).
pub(crate) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn of_two_credentials_neither_counts() {
        let with = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            authorization(&headers).map(str::to_owned)
        };
        assert_eq!(with(&[]), Err(MissingToken::Absent));
        assert_eq!(with(&["Basic YTpi"]), Ok("Basic YTpi".to_owned()));
        assert_eq!(with(&["Basic YTpi", "Basic YTpi"]), Err(MissingToken::Invalid));
        assert_eq!(with(&["Bearer a", ""]), Err(MissingToken::Invalid));
    }

    #[test]
    fn only_bearer_credentials_are_tokens() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer"), None);
    }
}
