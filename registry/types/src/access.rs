//! Who may do what to which repositories: the vocabulary of accounts and access rules. Evaluation is total and
//! pure; a rule only ever adds rights.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ParseError, RepositoryName, shown};

/// What can be done to a repository, in the words of the token scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl FromStr for Action {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| ParseError::Action { text: shown(text) })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of actions, written `pull,push`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ActionSet(u8);

impl ActionSet {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(0b111);

    pub fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    #[must_use]
    pub fn with(self, action: Action) -> Self {
        Self(self.0 | action.bit())
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.contains(*action))
    }
}

impl FromIterator<Action> for ActionSet {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        actions.into_iter().fold(Self::NONE, Self::with)
    }
}

impl FromStr for ActionSet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        text.split(',').map(|word| word.trim().parse()).collect()
    }
}

impl fmt::Display for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Action::as_str).collect();
        f.write_str(&words.join(","))
    }
}

impl fmt::Debug for ActionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// The name of a user or robot. Names are compared exactly; case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AccountName(String);

/// Longest account name, in bytes.
const LONGEST_ACCOUNT: usize = 64;

impl AccountName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let valid = text.len() <= LONGEST_ACCOUNT
            && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseError::AccountName { text: shown(text) }) }
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person, or a program such as a CI job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountKind {
    User,
    Robot,
}

/// Repository paths with wildcards: `*` stands for any text within one component, `**` as a whole component
/// for any number of components, none included.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PathPattern(String);

/// Longest pattern, in bytes, and most `**` in one: matching takes time with their product.
const LONGEST_PATTERN: usize = 255;
const MOST_DOUBLE_STARS: usize = 4;

impl PathPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, repository: &RepositoryName) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let path: Vec<&str> = repository.as_str().split('/').collect();
        path_matches(&pattern, &path)
    }
}

fn path_matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skipped| path_matches(rest, &path[skipped..])),
        ([first, rest @ ..], [component, behind @ ..]) => {
            component_matches(first.as_bytes(), component.as_bytes()) && path_matches(rest, behind)
        }
        _ => false,
    }
}

/// Matches `*` greedily and goes back to the last one only, so the time is at most pattern times text.
pub(crate) fn component_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(byte) if *byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((star_at, taken)) => {
                    at = star_at + 1;
                    read = taken + 1;
                    star = Some((star_at, read));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl FromStr for PathPattern {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |reason| ParseError::PathPattern { text: shown(text), reason };
        if text.is_empty() || text.len() > LONGEST_PATTERN {
            return Err(bad("it must have 1 to 255 characters"));
        }
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
        for component in text.split('/') {
            if component.is_empty() || !component.bytes().all(allowed) {
                return Err(bad("between slashes only a-z 0-9 . _ - and * may stand"));
            }
            if component.contains("**") && component != "**" {
                return Err(bad("** must stand alone between slashes"));
            }
        }
        if text.split('/').filter(|component| *component == "**").count() > MOST_DOUBLE_STARS {
            return Err(bad("it has more than four **"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a rule is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Everyone, logged in or not: this makes repositories public.
    Everyone,
    /// Everyone who is logged in.
    LoggedIn,
    Account(AccountName),
}

impl FromStr for Subject {
    type Err = ParseError;

    /// `everyone`, `logged-in`, or `account:NAME`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "everyone" => Ok(Self::Everyone),
            "logged-in" => Ok(Self::LoggedIn),
            _ => text.strip_prefix("account:").unwrap_or(text).parse().map(Self::Account),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everyone => f.write_str("everyone"),
            Self::LoggedIn => f.write_str("logged-in"),
            Self::Account(name) => write!(f, "account:{name}"),
        }
    }
}

/// Gives a subject some actions on the repositories that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    pub subject: Subject,
    pub pattern: PathPattern,
    pub actions: ActionSet,
}

impl AccessRule {
    /// What this rule gives `account` (`None` when not logged in) on `repository`.
    pub fn actions_for(&self, account: Option<&AccountName>, repository: &RepositoryName) -> ActionSet {
        let meant = match &self.subject {
            Subject::Everyone => true,
            Subject::LoggedIn => account.is_some(),
            Subject::Account(name) => account == Some(name),
        };
        if meant && self.pattern.matches(repository) { self.actions } else { ActionSet::NONE }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, repository: &str) -> bool {
        pattern.parse::<PathPattern>().unwrap().matches(&repository.parse().unwrap())
    }

    #[test]
    fn stars_stay_in_their_component_and_double_stars_do_not() {
        assert!(matches("root/*", "root/hichat"));
        assert!(!matches("root/*", "root/hichat/api"));
        assert!(matches("root/**", "root/hichat/api") && matches("root/**", "root"));
        assert!(matches("**/api", "api") && matches("**/api", "a/b/api"));
        assert!(matches("a*c/x", "abbc/x") && !matches("a*c/x", "abbd/x"));
        assert!(matches("**", "any/thing") && !matches("root", "root2"));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for bad in ["", "/", "a//b", "A", "a**", "**/**/**/**/**", "a b"] {
            assert!(bad.parse::<PathPattern>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_rule_gives_only_its_subject_its_actions() {
        let rule = AccessRule {
            subject: "ci".parse().unwrap(),
            pattern: "root/**".parse().unwrap(),
            actions: "pull,push".parse().unwrap(),
        };
        let ci = "ci".parse::<AccountName>().unwrap();
        let repository = "root/app".parse().unwrap();
        assert_eq!(rule.actions_for(Some(&ci), &repository).to_string(), "pull,push");
        assert!(rule.actions_for(None, &repository).is_empty());
        assert!(rule.actions_for(Some(&"CI".parse().unwrap()), &repository).is_empty());
        assert!(rule.actions_for(Some(&ci), &"other/app".parse().unwrap()).is_empty());
    }

    proptest! {
        #[test]
        fn every_name_matches_itself_and_everything(name in "[a-z]{1,4}(/[a-z]{1,4}){0,3}") {
            prop_assert!(matches(&name, &name));
            prop_assert!(matches("**", &name));
        }

        #[test]
        fn matching_ends(pattern in "[a*/]{1,40}", name in "a{1,20}(/a{1,20}){0,6}") {
            if let Ok(pattern) = pattern.parse::<PathPattern>() {
                let _ = pattern.matches(&name.parse().unwrap());
            }
        }
    }
}
