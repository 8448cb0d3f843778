//! A part of the tree of repositories: what quotas and retention policies are for.

use std::{fmt, str::FromStr};

use crate::{ParseError, RepositoryName};

/// A repository and everything below it, or every repository: the empty prefix, written `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Option<RepositoryName>);

impl PathPrefix {
    /// Covers every repository.
    pub const ALL: Self = Self(None);

    /// The name that covered repositories are or stand below; `None` covers all.
    pub fn path(&self) -> Option<&RepositoryName> {
        self.0.as_ref()
    }

    /// `team` covers `team` and `team/app` but not `teams`.
    pub fn covers(&self, repository: &RepositoryName) -> bool {
        let Some(path) = &self.0 else { return true };
        repository
            .as_str()
            .strip_prefix(path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl From<RepositoryName> for PathPrefix {
    fn from(path: RepositoryName) -> Self {
        Self(Some(path))
    }
}

impl FromStr for PathPrefix {
    type Err = ParseError;

    /// Takes `*` or a repository's name.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text == "*" { Ok(Self::ALL) } else { text.parse().map(|path| Self(Some(path))) }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("*", RepositoryName::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_slash() {
        let covers = |prefix: &str, name: &str| {
            prefix.parse::<PathPrefix>().unwrap().covers(&name.parse::<RepositoryName>().unwrap())
        };
        assert!(covers("*", "a"));
        assert!(covers("team", "team"));
        assert!(covers("team", "team/app"));
        assert!(!covers("team", "teams/app"));
        assert!(!covers("team/app", "team"));
        for text in ["*", "team/app"] {
            assert_eq!(text.parse::<PathPrefix>().unwrap().to_string(), text);
        }
        assert!("team/*".parse::<PathPrefix>().is_err());
    }
}
