//! Token scopes: `repository:NAME:pull,push` (distribution's token scope grammar).

use std::{collections::BTreeMap, fmt};

use registry_types::RepositoryName;

/// One resource and the actions wanted on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope {
    /// `repository:NAME` or `registry:catalog`.
    resource: String,
    actions: Vec<String>,
}

impl Scope {
    pub(crate) fn pull(repository: &RepositoryName) -> Self {
        Self::new(format!("repository:{repository}"), &["pull"])
    }

    pub(crate) fn push(repository: &RepositoryName) -> Self {
        Self::new(format!("repository:{repository}"), &["pull", "push"])
    }

    pub(crate) fn delete(repository: &RepositoryName) -> Self {
        Self::new(format!("repository:{repository}"), &["delete", "pull"])
    }

    pub(crate) fn catalog() -> Self {
        Self::new("registry:catalog".to_owned(), &["*"])
    }

    fn new(resource: String, actions: &[&str]) -> Self {
        Self { resource, actions: actions.iter().map(|action| (*action).to_owned()).collect() }
    }

    /// Reads one scope of a challenge; a name may hold colons (a host's port), so it is cut at the last one.
    fn parse(text: &str) -> Option<Self> {
        let (resource, actions) = text.rsplit_once(':')?;
        let (kind, name) = resource.split_once(':')?;
        if kind.is_empty() || name.is_empty() || actions.is_empty() {
            return None;
        }
        let actions: Vec<&str> = actions.split(',').filter(|action| !action.is_empty()).collect();
        Some(Self::new(resource.to_owned(), &actions))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.actions.join(","))
    }
}

/// Scopes for one token: each resource once, in order, so that equal sets are equal keys of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct ScopeSet(Vec<Scope>);

impl ScopeSet {
    #[cfg(test)]
    pub(crate) const EMPTY: Self = Self(Vec::new());

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// These scopes and those that a challenge names.
    pub(crate) fn with_challenge(&self, scope: Option<&str>) -> Self {
        let asked = scope.unwrap_or_default().split_ascii_whitespace().filter_map(Scope::parse);
        self.0.iter().cloned().chain(asked).collect()
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut resources: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for scope in scopes {
            resources.entry(scope.resource).or_default().extend(scope.actions);
        }
        Self(
            resources
                .into_iter()
                .map(|(resource, mut actions)| {
                    actions.sort_unstable();
                    actions.dedup();
                    Scope { resource, actions }
                })
                .collect(),
        )
    }
}

impl From<Scope> for ScopeSet {
    fn from(scope: Scope) -> Self {
        [scope].into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_holds_each_resource_once_in_order() {
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let set: ScopeSet = [Scope::push(&b), Scope::pull(&a), Scope::pull(&b)].into_iter().collect();
        let texts: Vec<String> = set.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["repository:a:pull", "repository:b:pull,push"]);
    }

    #[test]
    fn a_challenge_adds_what_was_not_asked_for() {
        let set = ScopeSet::from(Scope::pull(&"a".parse().unwrap()))
            .with_challenge(Some("repository:a:pull,push registry:catalog:* nonsense :: "));
        let texts: Vec<String> = set.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["registry:catalog:*", "repository:a:pull,push"]);
    }

    proptest! {
        #[test]
        fn reading_scopes_never_panics(text in "\\PC*") {
            let _ = ScopeSet::default().with_challenge(Some(&text));
        }
    }
}
