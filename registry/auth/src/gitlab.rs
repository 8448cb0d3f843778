//! A real GitLab issues the tokens and this registry verifies them: what `auth.token` is in the configuration
//! of distribution and of GitLab's own registry.

use crate::{AuthError, Challenger, TrustedKeys, Verifier};

/// The issuer and the service of GitLab's packages unless `gitlab.rb` says otherwise.
pub const GITLAB_ISSUER: &str = "omnibus-gitlab-issuer";
pub const GITLAB_SERVICE: &str = "container_registry";

/// How to recognise GitLab's tokens and where to send clients for one.
#[derive(Debug, Clone)]
pub struct GitLabConfig {
    /// URL of GitLab's token endpoint, `https://gitlab.example/jwt/auth`.
    pub realm: String,
    /// `iss` of its tokens: `registry['issuer']` in `gitlab.rb`.
    pub issuer: String,
    /// `aud` of its tokens.
    pub service: String,
    /// The PEM text of the certificate of the key GitLab signs with: `rootcertbundle`.
    pub bundle: Vec<u8>,
}

/// A GitLab that is trusted to say who may do what.
#[derive(Debug)]
pub struct GitLab {
    verifier: Verifier,
    challenger: Challenger,
}

impl GitLab {
    pub fn new(config: &GitLabConfig) -> Result<Self, AuthError> {
        Ok(Self {
            verifier: Verifier::new(
                &config.issuer,
                &config.service,
                TrustedKeys::from_bundle(&config.bundle)?,
            ),
            challenger: Challenger::new(&config.realm, &config.service)?,
        })
    }

    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    pub fn challenger(&self) -> &Challenger {
        &self.challenger
    }

    /// Takes both parts, for a server that is indifferent to who issues its tokens.
    pub fn into_parts(self) -> (Verifier, Challenger) {
        (self.verifier, self.challenger)
    }
}

#[cfg(test)]
mod tests;
