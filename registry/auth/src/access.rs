//! The verified rights of one request, and the only source of grants. Names are compared exactly: no prefix,
//! no pattern, no change of case.

use std::sync::Arc;

use registry_types::{Action, ActionSet, RepositoryName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{CatalogGrant, Grant, GrantedScopes, Identity, Permission, Scope};

/// One entry of the `access` claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// `repository` or `registry`; entries of any other type give nothing.
    #[serde(rename = "type")]
    pub kind: String,
    pub name: String,
    #[serde(default, deserialize_with = "null_is_empty")]
    pub actions: Vec<String>,
    /// GitLab's further facts about the repository, kept as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
}

/// Go writes an empty list as `null`.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl AccessEntry {
    fn is_for(&self, kind: &str, name: &str) -> bool {
        self.kind == kind && self.name == name
    }

    /// GitLab and distribution let the action `*` stand for every action.
    fn gives(&self, action: &str) -> bool {
        self.actions.iter().any(|given| given == action || given == "*")
    }
}

/// Why there are no rights at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingToken {
    /// The request carried none.
    Absent,
    /// It carried one that did not verify.
    Invalid,
}

#[derive(Debug)]
enum Rights {
    Everything,
    Listed(Vec<AccessEntry>),
    Nothing(MissingToken),
}

#[derive(Debug)]
struct Inner {
    identity: Identity,
    rights: Rights,
}

/// The verified rights of one request. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Access(Arc<Inner>);

impl Access {
    fn new(identity: Identity, rights: Rights) -> Self {
        Self(Arc::new(Inner { identity, rights }))
    }

    /// All rights on everything, checked against nothing: only for a server run with authorization switched
    /// off, and for an administrator who has just proved to be one.
    pub fn unrestricted(identity: Identity) -> Self {
        Self::new(identity, Rights::Everything)
    }

    /// A request with no token, or with one that did not verify. It has an access too, so that refusing it
    /// takes the same way as any other refusal and the challenge can name the scope that was needed.
    pub fn without_token(missing: MissingToken) -> Self {
        Self::new(Identity::anonymous(), Rights::Nothing(missing))
    }

    /// The rights that the access rules gave to who has just proved who he is, with no token in between.
    pub fn decided(identity: Identity, granted: &GrantedScopes) -> Self {
        Self::listed(identity, granted.entries())
    }

    /// The rights that a verified token lists.
    pub(crate) fn listed(identity: Identity, entries: Vec<AccessEntry>) -> Self {
        Self::new(identity, Rights::Listed(entries))
    }

    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// Permission `P` on `repository`, or the scopes that a better token would have.
    pub fn grant<P: Permission>(&self, repository: &RepositoryName) -> Result<Grant<P>, Denied> {
        let gives = |action: &Action| self.gives("repository", repository.as_str(), action.as_str());
        if P::NEEDED.iter().all(gives) {
            return Ok(Grant::new(repository.clone(), self.clone()));
        }
        Err(self.denied(vec![Scope::repository(repository.clone(), needed::<P>())]))
    }

    /// Permission to list all repositories.
    pub fn grant_catalog(&self) -> Result<CatalogGrant, Denied> {
        if self.gives("registry", "catalog", "*") {
            return Ok(CatalogGrant::new(self.clone()));
        }
        Err(self.denied(vec![Scope::Catalog]))
    }

    /// What `/v2/` asks for: a token that verified, whatever it allows.
    pub fn require_token(&self) -> Result<(), Denied> {
        match self.0.rights {
            Rights::Nothing(_) => Err(self.denied(Vec::new())),
            Rights::Everything | Rights::Listed(_) => Ok(()),
        }
    }

    /// What the token said about `repository` beside its actions.
    pub fn meta(&self, repository: &RepositoryName) -> Option<&Value> {
        let Rights::Listed(entries) = &self.0.rights else { return None };
        entries
            .iter()
            .filter(|entry| entry.is_for("repository", repository.as_str()))
            .find_map(|entry| entry.meta.as_ref())
    }

    /// Entries for one name add up, as in distribution. A token has a handful of them, and never more than
    /// the longest token accepted can hold, so a scan beats any map.
    fn gives(&self, kind: &str, name: &str, action: &str) -> bool {
        match &self.0.rights {
            Rights::Everything => true,
            Rights::Nothing(_) => false,
            Rights::Listed(entries) => {
                entries.iter().any(|entry| entry.is_for(kind, name) && entry.gives(action))
            }
        }
    }

    fn denied(&self, needed: Vec<Scope>) -> Denied {
        let reason = match self.0.rights {
            Rights::Nothing(MissingToken::Absent) => DeniedReason::NoToken,
            Rights::Nothing(MissingToken::Invalid) => DeniedReason::InvalidToken,
            Rights::Everything | Rights::Listed(_) => DeniedReason::InsufficientScope,
        };
        Denied { needed, reason }
    }
}

fn needed<P: Permission>() -> ActionSet {
    P::NEEDED.iter().copied().collect()
}

/// Why a request was refused: decides the `error` of the challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedReason {
    NoToken,
    InvalidToken,
    InsufficientScope,
}

/// A refusal. The answer is 401 with a challenge that names [`needed`](Self::needed).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct Denied {
    needed: Vec<Scope>,
    reason: DeniedReason,
}

impl Denied {
    /// The scopes a token must have for this request; empty where any token will do.
    pub fn needed(&self) -> &[Scope] {
        &self.needed
    }

    pub fn reason(&self) -> DeniedReason {
        self.reason
    }

    /// The same refusal for a request that needs `other` as well (a mount needs pull on its source).
    #[must_use]
    pub fn and(mut self, other: Denied) -> Self {
        self.needed.extend(other.needed);
        self
    }

    fn sentence(&self) -> String {
        let scopes: Vec<String> = self.needed.iter().map(Scope::to_string).collect();
        let wanted = if scopes.is_empty() { String::new() } else { format!(" for {}", scopes.join(" ")) };
        match self.reason {
            DeniedReason::NoToken => format!("authentication required: log in to get a token{wanted}"),
            DeniedReason::InvalidToken => format!("the token is not valid: get a new one{wanted}"),
            DeniedReason::InsufficientScope => {
                format!("the token does not give enough rights: ask for one{wanted}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Delete, Pull, Push};

    use super::*;

    fn repository(name: &str) -> RepositoryName {
        name.parse().unwrap()
    }

    fn entry(kind: &str, name: &str, actions: &[&str]) -> AccessEntry {
        AccessEntry {
            kind: kind.into(),
            name: name.into(),
            actions: actions.iter().map(|action| (*action).to_owned()).collect(),
            meta: None,
        }
    }

    fn access(entries: &[AccessEntry]) -> Access {
        Access::listed(Identity::named("root"), entries.to_vec())
    }

    #[test]
    fn a_push_needs_pull_and_push() {
        let push_only = access(&[entry("repository", "root/app", &["push"])]);
        let denied = push_only.grant::<Push>(&repository("root/app")).unwrap_err();
        assert_eq!(denied.needed()[0].to_string(), "repository:root/app:pull,push");
        assert_eq!(denied.reason(), DeniedReason::InsufficientScope);
        let both =
            access(&[entry("repository", "root/app", &["push"]), entry("repository", "root/app", &["pull"])]);
        let grant = both.grant::<Push>(&repository("root/app")).unwrap();
        assert_eq!(
            (grant.repository().as_str(), grant.identity().to_string().as_str()),
            ("root/app", "root")
        );
        assert!(both.grant::<Delete>(&repository("root/app")).is_err());
    }

    #[test]
    fn the_star_action_gives_all_of_one_name_only() {
        let all = access(&[entry("repository", "root/app", &["*"])]);
        assert!(all.grant::<Delete>(&repository("root/app")).is_ok());
        assert!(all.grant::<Push>(&repository("root/app")).is_ok());
        for other in ["root/app/api", "root/ap", "root", "app"] {
            assert!(all.grant::<Pull>(&repository(other)).is_err(), "{other} was given");
        }
        assert!(all.grant_catalog().is_err());
    }

    #[test]
    fn a_star_in_a_name_is_only_a_star() {
        for name in ["*", "root/*", "root/app*", "ROOT/app", "root/app/", ""] {
            let tricked = access(&[entry("repository", name, &["*"])]);
            assert!(tricked.grant::<Pull>(&repository("root/app")).is_err(), "{name:?} matched");
        }
    }

    #[test]
    fn the_catalog_needs_its_own_scope() {
        assert!(access(&[entry("registry", "catalog", &["*"])]).grant_catalog().is_ok());
        for wrong in [
            entry("repository", "catalog", &["*"]),
            entry("registry", "catalog", &["pull"]),
            entry("registry", "*", &["*"]),
        ] {
            assert!(access(&[wrong]).grant_catalog().is_err());
        }
    }

    #[test]
    fn without_a_token_nothing_is_given_and_the_need_is_named() {
        let absent = Access::without_token(MissingToken::Absent);
        let denied = absent.grant::<Pull>(&repository("a")).unwrap_err();
        assert_eq!(denied.reason(), DeniedReason::NoToken);
        assert_eq!(denied.needed(), [Scope::repository(repository("a"), ActionSet::NONE.with(Action::Pull))]);
        assert_eq!(absent.require_token().unwrap_err().needed(), []);
        let invalid = Access::without_token(MissingToken::Invalid);
        assert_eq!(invalid.grant_catalog().unwrap_err().reason(), DeniedReason::InvalidToken);
    }

    #[test]
    fn unrestricted_access_and_meta() {
        let all = Access::unrestricted(Identity::anonymous());
        assert!(all.grant::<Delete>(&repository("any/thing")).is_ok() && all.grant_catalog().is_ok());
        let mut with_meta = entry("repository", "a", &["pull"]);
        with_meta.meta = Some(serde_json::json!({"project_path": "a"}));
        let access = access(&[entry("repository", "a", &["push"]), with_meta]);
        let grant = access.grant::<Push>(&repository("a")).unwrap();
        assert_eq!(grant.meta().unwrap()["project_path"], "a");
    }
}
