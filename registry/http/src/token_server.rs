//! The registry's own token server: its keys, its names and the logins it has
//! seen. What to answer is in `handlers::tokens`.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use http::request::Parts;
use registry_auth::{
    AuthError, Challenger, GrantedScopes, Identity, IssuedToken, Issuer, Logins, SigningKey, TrustedKeys,
    Verifier,
};

use crate::{respond::header_text, service::RequestOrigin};

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
    pub(crate) async fn issue(
        &self,
        identity: Identity,
        granted: GrantedScopes,
    ) -> Result<IssuedToken, String> {
        let inner = self.0.clone();
        let issued = tokio::task::spawn_blocking(move || {
            let key = inner.key.read().unwrap_or_else(PoisonError::into_inner).clone();
            inner.issuer.issue_blocking(&key, &identity, &granted, SystemTime::now())
        });
        issued.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// The challenge for a request: to the configured URL, else to the host that the client itself named.
    pub(crate) fn challenger(&self, origin: &RequestOrigin, parts: &Parts) -> Option<Challenger> {
        if let Some(challenger) = &self.0.challenger {
            return Some(challenger.clone());
        }
        let host = parts.uri.authority().map(http::uri::Authority::as_str);
        let host = host.or_else(|| header_text(&parts.headers, &http::header::HOST))?;
        let scheme = if origin.secure { "https" } else { "http" };
        Challenger::new(&format!("{scheme}://{host}/jwt/auth"), self.service()).ok()
    }
}
