//! The scope grammar of the token protocol: `type:name:action[,action]`. Parsing never fails: what is not
//! understood asks for nothing, as GitLab and distribution have it, and how much is read is bounded.

use std::fmt;

use registry_types::{Action, ActionSet, RepositoryName};

/// Most scopes read from one request. Clients send one or two; a mount from many sources a few more.
pub const MOST_SCOPES: usize = 32;

/// Longest scope read, in bytes: type and actions take under 64, a repository name at most 255.
const LONGEST_SCOPE: usize = 512;

/// The actions of a repository scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScopeActions {
    /// Written `*`: every action there is or will be.
    Every,
    Listed(ActionSet),
}

impl ScopeActions {
    /// The actions by name.
    pub fn set(self) -> ActionSet {
        match self {
            Self::Every => ActionSet::ALL,
            Self::Listed(actions) => actions,
        }
    }

    /// Unknown actions are left out; `*` anywhere in the list is every action.
    fn read(text: &str) -> Self {
        if text.split(',').any(|word| word == "*") {
            return Self::Every;
        }
        Self::Listed(text.split(',').filter_map(|word| word.parse::<Action>().ok()).collect())
    }

    fn union(self, other: Self) -> Self {
        match (self, other) {
            (Self::Listed(one), Self::Listed(two)) => Self::Listed(one.union(two)),
            _ => Self::Every,
        }
    }
}

impl fmt::Display for ScopeActions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::Listed(actions) => write!(f, "{actions}"),
        }
    }
}

/// What a token is asked for, or what a request needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    Repository {
        name: RepositoryName,
        actions: ScopeActions,
    },
    /// `registry:catalog:*`, the right to list all repositories.
    Catalog,
}

impl Scope {
    /// `actions` on `name`.
    pub fn repository(name: RepositoryName, actions: ActionSet) -> Self {
        Self::Repository { name, actions: ScopeActions::Listed(actions) }
    }

    /// Reads one scope; `None` when it asks for nothing this registry has.
    fn read(text: &str) -> Option<Self> {
        if text.len() > LONGEST_SCOPE {
            return None;
        }
        let mut parts = text.splitn(3, ':');
        let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
        match kind {
            "repository" => {
                let actions = ScopeActions::read(actions);
                let name = name.parse().ok()?;
                (!actions.set().is_empty()).then_some(Self::Repository { name, actions })
            }
            "registry" if name == "catalog" && actions == "*" => Some(Self::Catalog),
            _ => None,
        }
    }

    /// `scopes` with those for one repository made one, in the order first seen.
    pub(crate) fn merged(scopes: &[Self]) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for scope in scopes {
            if !merged.iter_mut().any(|seen| seen.absorbs(scope)) {
                merged.push(scope.clone());
            }
        }
        merged
    }

    /// Takes the actions of `other` in, where both are about the same thing.
    fn absorbs(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Repository { name, actions }, Self::Repository { name: same, actions: more }) => {
                let matches = name == same;
                if matches {
                    *actions = actions.union(*more);
                }
                matches
            }
            (Self::Catalog, Self::Catalog) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { name, actions } => write!(f, "repository:{name}:{actions}"),
            Self::Catalog => f.write_str("registry:catalog:*"),
        }
    }
}

/// Reads the `scope` parameters of a token request. The parameter may be repeated and each value may hold
/// several scopes between spaces. Scopes for one repository become one, in the order first seen; anything
/// after the first [`MOST_SCOPES`] is not looked at.
pub fn parse_scopes<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Scope> {
    let words = values.into_iter().flat_map(|value| value.split(' ')).filter(|word| !word.is_empty());
    let read: Vec<Scope> = words.take(MOST_SCOPES).filter_map(Scope::read).collect();
    Scope::merged(&read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(values: &[&str]) -> Vec<String> {
        parse_scopes(values.iter().copied()).iter().map(Scope::to_string).collect()
    }

    #[test]
    fn several_scopes_per_value_and_several_values() {
        assert_eq!(
            parsed(&["repository:a:pull repository:b/c:push,pull", "registry:catalog:*"]),
            ["repository:a:pull", "repository:b/c:pull,push", "registry:catalog:*"]
        );
        assert_eq!(
            parsed(&["repository:a:pull", "repository:a:delete", "registry:catalog:*  registry:catalog:*"]),
            ["repository:a:pull,delete", "registry:catalog:*"]
        );
        assert_eq!(parsed(&["repository:a:pull,*", "repository:a:pull"]), ["repository:a:*"]);
    }

    #[test]
    fn what_is_not_understood_asks_for_nothing() {
        for nothing in [
            "",
            " ",
            "repository",
            "repository:a",
            "repository::pull",
            "repository:a:",
            "repository:a:Pull",
            "repository:A:pull",
            "repository:a/*:pull",
            "repository:*:*",
            "repository:a:pull:push",
            "repository:host:5000/a:pull",
            "Repository:a:pull",
            "repository(plugin):a:pull",
            "registry:catalog:pull",
            "registry:*:*",
            "unknown:a:pull",
        ] {
            assert_eq!(parsed(&[nothing]), Vec::<String>::new(), "{nothing:?} asked for something");
        }
        assert_eq!(parsed(&["repository:a:fly,pull"]), ["repository:a:pull"]);
    }

    #[test]
    fn how_much_is_read_is_bounded() {
        let many: Vec<String> = (0..1000).map(|number| format!("repository:r{number}:pull")).collect();
        assert_eq!(parse_scopes(many.iter().map(String::as_str)).len(), MOST_SCOPES);
        let long = format!("repository:a:pull{}", ",pull".repeat(1000));
        assert!(parsed(&[&long]).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(text in "(repository|registry|x):[a-z/*:]{0,12}:[a-z,*:]{0,12}( repository:[ab]:(pull|push|delete|\\*))?") {
            let once = parse_scopes([text.as_str()]);
            let printed: Vec<String> = once.iter().map(Scope::to_string).collect();
            prop_assert_eq!(parse_scopes([printed.join(" ").as_str()]), once);
        }

        #[test]
        fn no_text_breaks_it_and_no_repository_comes_twice(values in proptest::collection::vec(".{0,60}", 0..6)) {
            let scopes = parse_scopes(values.iter().map(String::as_str));
            let mut unique = scopes.clone();
            unique.dedup();
            prop_assert_eq!(scopes.len(), unique.len());
            prop_assert!(scopes.len() <= MOST_SCOPES);
        }
    }
}
