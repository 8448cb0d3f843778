//! The token endpoint (`/jwt/auth`, GET and POST) in the form of GitLab's, and the keys behind it. Wrong
//! password and unknown account cost the same and read the same; refused actions are dropped from the token.

use std::time::{Duration, SystemTime};

use base64::Engine;
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use registry_auth::{
    Account, GrantedScopes, Identity, LoginError, MissingToken, PasswordHash, Secret, basic_challenge,
    decide, parse_scopes,
};
use registry_blobs::BlobStore;
use registry_core::{CoreError, Registry};
use registry_metadata::{AccountRecord, Metadata};
use registry_types::{AccessRule, AccountName, ErrorCode};
use serde_json::json;

use super::{Answer, Failure};
use crate::{
    authentication::{Authenticator, authorization},
    caller::Caller,
    error::HttpError,
    incoming_body::IncomingBody,
    query::Query,
    request_body::read_whole,
    respond::Reply,
    token_server::TokenServer,
};

/// Largest form of a POST, in bytes: a name, a password and some scopes.
const FORM_BYTES: usize = 64 << 10;

/// What a client gave to prove who it is.
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) password: Secret,
}

pub(crate) async fn issue<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    authenticator: &Authenticator,
    caller: &Caller,
    parts: &Parts,
    query: &Query,
    body: IncomingBody,
    idle: Duration,
) -> Answer {
    let server = authenticator.server().ok_or_else(|| {
        HttpError::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "this registry issues no tokens itself")
    })?;
    let form;
    let (parameters, credentials) = if parts.method == Method::POST {
        let body = read_whole(body, &parts.headers, FORM_BYTES, idle).await?;
        form = Query::parse(&String::from_utf8_lossy(&body.bytes));
        (&form, form_credentials(&form)?)
    } else {
        (query, basic_credentials(&parts.headers)?)
    };
    if let Some(service) = parameters.get("service")
        && service != server.service()
    {
        let message = format!("this registry issues tokens for the service {} only", server.service());
        return Err(HttpError::new(StatusCode::NOT_FOUND, ErrorCode::Unsupported, message).into());
    }
    let account = match credentials {
        Some(credentials) => Some(log_in(registry, server, caller, credentials).await?),
        None => None,
    };
    let wanted = parse_scopes(parameters.all("scope"));
    let rules: Vec<AccessRule> = registry.rules().await?.iter().map(|row| row.rule.clone()).collect();
    let asking = account.as_ref().map(|account| Account { name: &account.name, admin: account.admin });
    let granted: GrantedScopes = decide(asking, &rules, &wanted);
    let identity = match &account {
        Some(account) => Identity::named(account.name.as_str()),
        None => Identity::anonymous(),
    };
    let issued = server.issue(identity, granted).await?;
    let body = serde_json::to_value(&issued).map_err(|error| internal(error.to_string()))?;
    Ok(Reply::json(StatusCode::OK, &body).header(header::CACHE_CONTROL, "no-store").done())
}

/// The keys that tokens can be verified with (RFC 7517).
pub(crate) fn keys(authenticator: &Authenticator) -> Answer {
    let keys = authenticator.server().map(|server| server.verifier().trusted().to_jwks(SystemTime::now()));
    Ok(Reply::json(StatusCode::OK, &keys.unwrap_or_else(|| json!({ "keys": [] }))).done())
}

async fn log_in<M: Metadata, B: BlobStore>(
    registry: &Registry<M, B>,
    server: &TokenServer,
    caller: &Caller,
    credentials: Credentials,
) -> Result<AccountRecord, Failure> {
    // A name that no account can have is an unknown one, and takes as long.
    let account = match credentials.name.parse::<AccountName>() {
        Ok(name) => registry.account(&name).await?,
        Err(_) => None,
    };
    let stored: Option<PasswordHash> =
        account.as_ref().and_then(|account| account.password_hash.parse().ok());
    let checked = server
        .logins()
        .verify(caller.address, &credentials.name, &credentials.password, stored.as_ref())
        .await;
    match (checked, account) {
        (Ok(()), Some(account)) => Ok(account),
        (Ok(()) | Err(LoginError::Wrong), _) => {
            tracing::warn!(request = %caller.id, peer = %caller.address, "a login failed");
            Err(unauthorized("wrong name or password").into())
        }
        (Err(error @ LoginError::Slowed { retry_after }), _) => {
            let seconds = (retry_after.as_secs() + 1).to_string();
            let refused =
                HttpError::new(StatusCode::TOO_MANY_REQUESTS, ErrorCode::TooManyRequests, error.to_string());
            Err(refused.with_header(header::RETRY_AFTER, &seconds).into())
        }
        (Err(error @ LoginError::Stopping), _) => {
            Err(CoreError::Unavailable { reason: error.to_string() }.into())
        }
    }
}

/// Name and password of Basic authentication (RFC 7617); `None` when the request has none.
pub(crate) fn basic_credentials(headers: &HeaderMap) -> Result<Option<Credentials>, HttpError> {
    let malformed =
        || unauthorized("log in with Basic authentication: the Authorization header cannot be read");
    let value = match authorization(headers) {
        Ok(value) => value,
        Err(MissingToken::Absent) => return Ok(None),
        Err(MissingToken::Invalid) => return Err(malformed()),
    };
    let (scheme, encoded) = value.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded =
        base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map_err(|_| malformed())?;
    let text = String::from_utf8(decoded).map_err(|_| malformed())?;
    let (name, password) = text.split_once(':').ok_or_else(malformed)?;
    Ok(Some(Credentials { name: name.to_owned(), password: Secret::new(password) }))
}

/// Name and password of an OAuth2 password grant (RFC 6749 section 4.3.2), as containerd and docker send them.
pub(crate) fn form_credentials(form: &Query) -> Result<Option<Credentials>, HttpError> {
    match form.get("grant_type") {
        Some("password") => {}
        other => {
            let message =
                format!("grant_type {} is not possible here: use password", other.unwrap_or("none"));
            return Err(HttpError::bad_request(ErrorCode::Unsupported, message));
        }
    }
    match (form.get("username"), form.get("password")) {
        (Some(name), Some(password)) => {
            Ok(Some(Credentials { name: name.to_owned(), password: Secret::new(password) }))
        }
        _ => Err(HttpError::bad_request(ErrorCode::Unauthorized, "username and password are needed")),
    }
}

fn unauthorized(message: &str) -> HttpError {
    let error = HttpError::new(StatusCode::UNAUTHORIZED, ErrorCode::Unauthorized, message);
    match basic_challenge("Slipway registry") {
        Ok(challenge) => error.with_header(header::WWW_AUTHENTICATE, &challenge),
        Err(_) => error,
    }
}

fn internal(reason: String) -> HttpError {
    CoreError::Internal { reason }.into()
}
