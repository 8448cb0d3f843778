//! Who is asking: for logs and events, never for deciding. Holds no secret that it would print.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How somebody proved who they are: the `auth_type` claim, in GitLab's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum AuthType {
    /// Nobody logged in.
    None,
    /// A user's name and password.
    Password,
    PersonalAccessToken,
    OAuth,
    /// A CI job that acts for a user.
    Build,
    /// A CI job without one.
    Ci,
    DeployToken,
    /// A value that this registry does not know; passed on in events.
    Other(String),
}

impl AuthType {
    pub fn as_str(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Password => "gitlab_or_ldap",
            Self::PersonalAccessToken => "personal_access_token",
            Self::OAuth => "oauth",
            Self::Build => "build",
            Self::Ci => "ci",
            Self::DeployToken => "deploy_token",
            Self::Other(text) => text,
        }
    }
}

impl From<String> for AuthType {
    fn from(text: String) -> Self {
        let known = [
            Self::None,
            Self::Password,
            Self::PersonalAccessToken,
            Self::OAuth,
            Self::Build,
            Self::Ci,
            Self::DeployToken,
        ];
        known.into_iter().find(|known| known.as_str() == text).unwrap_or(Self::Other(text))
    }
}

impl From<AuthType> for String {
    fn from(auth_type: AuthType) -> Self {
        auth_type.as_str().to_owned()
    }
}

impl fmt::Display for AuthType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// GitLab's nested `user` token, kept as it came: events hand it back to GitLab, which alone verifies it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserToken(String);

impl UserToken {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserToken(..)")
    }
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account or user name; absent for the anonymous, for CI jobs without a user and for deploy tokens.
    pub subject: Option<String>,
    pub auth_type: AuthType,
    pub user_token: Option<UserToken>,
}

impl Identity {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self { subject: None, auth_type: AuthType::None, user_token: None }
    }

    /// An account that gave its password.
    pub fn named(subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), auth_type: AuthType::Password, user_token: None }
    }
}

/// The name; without one, the kind of credential (`deploy_token`); without that, `anonymous`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.subject, &self.auth_type) {
            (Some(subject), _) => f.write_str(subject),
            (None, AuthType::None) => f.write_str("anonymous"),
            (None, auth_type) => f.write_str(auth_type.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_shown_by_the_best_name_there_is() {
        assert_eq!(Identity::anonymous().to_string(), "anonymous");
        assert_eq!(Identity::named("root").to_string(), "root");
        let deploy = Identity { auth_type: AuthType::DeployToken, ..Identity::anonymous() };
        assert_eq!(deploy.to_string(), "deploy_token");
    }

    #[test]
    fn an_unknown_auth_type_survives_and_a_user_token_is_never_printed() {
        let read: AuthType = serde_json::from_str("\"kerberos\"").unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"kerberos\"");
        assert_eq!(AuthType::from("ci".to_owned()), AuthType::Ci);
        let token: UserToken = serde_json::from_str("\"eyJ.secret\"").unwrap();
        let identity = Identity { user_token: Some(token), ..Identity::named("root") };
        assert!(!format!("{identity:?}{identity}").contains("secret"));
    }
}
