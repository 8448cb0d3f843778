//! The registry's own token server: its keys, its names and the logins it has
//! seen. What to answer is in `handlers::tokens`.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use http::{StatusCode, header, request::Parts};
use registry_auth::{
    AuthError, Challenger, GrantedScopes, Identity, IssuedToken, Issuer, Logins, SigningKey, TrustedKeys,
    Verifier,
};

use registry_core::CoreError;
use registry_types::ErrorCode;
use tokio::sync::Semaphore;

use crate::{caller::Caller, error::HttpError};

/// Signatures made at once. More would take the cores from those who transfer.
const SIGNATURES_AT_ONCE: usize = 2;
/// Requests that may wait for one: about a second's worth, so that a fleet that starts at once is served.
const MOST_ASKING: usize = 1024;
/// Seconds after which a client may try again.
const RETRY_AFTER: &str = "1";

/// Cloning is cheap.
#[derive(Debug, Clone)]
pub struct TokenServer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuer: Issuer,
    key: RwLock<Arc<SigningKey>>,
    verifier: Verifier,
    /// With a configured URL; else each challenge names the host that its client asked for.
    challenger: Option<Challenger>,
    logins: Logins,
    /// Whoever waits for a signature or gets one.
    asking: Arc<Semaphore>,
    signing: Arc<Semaphore>,
}

impl TokenServer {
    /// `realm` is the URL of the token endpoint as clients reach it.
    ///
    /// # Errors
    /// [`AuthError`] when the names cannot stand in a header, or the machine gives no randomness.
    pub fn new(
        issuer: Issuer,
        key: Arc<SigningKey>,
        verifier: Verifier,
        realm: Option<&str>,
    ) -> Result<Self, AuthError> {
        let challenger = realm.map(|realm| Challenger::new(realm, issuer.service())).transpose()?;
        Ok(Self(Arc::new(Inner {
            issuer,
            key: RwLock::new(key),
            verifier,
            challenger,
            logins: Logins::new()?,
            asking: Arc::new(Semaphore::new(MOST_ASKING)),
            signing: Arc::new(Semaphore::new(SIGNATURES_AT_ONCE)),
        })))
    }

    /// Signs with `signing` and trusts `trusted` from now on.
    pub fn replace_keys(&self, signing: Arc<SigningKey>, trusted: TrustedKeys) {
        *self.0.key.write().unwrap_or_else(PoisonError::into_inner) = signing;
        self.0.verifier.replace_keys(trusted);
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    pub(crate) fn logins(&self) -> &Logins {
        &self.0.logins
    }

    pub(crate) fn service(&self) -> &str {
        self.0.issuer.service()
    }

    /// Signs a token; off the workers, since a signature takes a millisecond of a core.
    ///
    /// # Errors
    /// 503 when too many ask at once.
    pub(crate) async fn issue(
        &self,
        identity: Identity,
        granted: GrantedScopes,
    ) -> Result<IssuedToken, HttpError> {
        let asking = Arc::clone(&self.0.asking).try_acquire_owned().map_err(|_| {
            let message = "too many clients ask for a token: try again";
            let busy = HttpError::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message);
            busy.with_header(header::RETRY_AFTER, RETRY_AFTER)
        })?;
        let turn = Arc::clone(&self.0.signing).acquire_owned().await.map_err(internal)?;
        let inner = self.0.clone();
        // The work goes on if the client hangs up, and keeps its turn until then.
        let issued = tokio::task::spawn_blocking(move || {
            let _turn = (asking, turn);
            let key = inner.key.read().unwrap_or_else(PoisonError::into_inner).clone();
            inner.issuer.issue_blocking(&key, &identity, &granted, SystemTime::now())
        });
        issued.await.map_err(internal)?.map_err(internal)
    }

    /// The challenge for a request: to the configured URL, else to the host that the client itself named.
    pub(crate) fn challenger(&self, caller: &Caller, parts: &Parts) -> Option<Challenger> {
        if let Some(challenger) = &self.0.challenger {
            return Some(challenger.clone());
        }
        let host = caller.host(&parts.uri, &parts.headers)?;
        let scheme = if caller.secure { "https" } else { "http" };
        Challenger::new(&format!("{scheme}://{host}/jwt/auth"), self.service()).ok()
    }
}

fn internal(error: impl std::fmt::Display) -> HttpError {
    CoreError::Internal { reason: error.to_string() }.into()
}
