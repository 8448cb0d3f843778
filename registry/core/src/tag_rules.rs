//! Protected and immutable tags: which rules are in force, and what they say to a push or a delete.
//!
//! Rules only narrow what access rights allow. All that match a tag must let the request through, so what the
//! configuration protects cannot be opened by a rule added beside it. Administrators may push and delete protected
//! tags; nobody moves or deletes an immutable one.

use std::{fmt, sync::Arc};

use registry_auth::{AuthType, Identity};
use registry_metadata::{TagEffect, TagRule, TagRuleRecord};
use registry_types::{AccountName, Action, PathPattern, RepositoryName, Subject, Tag, TagPattern};
use serde::{Deserialize, Serialize};

use crate::{Text, as_text};

/// A tag rule as configuration and JSON hold it: either `protected` with who may push and delete the tags, or
/// `immutable`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagRuleForm {
    #[serde(with = "as_text")]
    pub repositories: PathPattern,
    #[serde(with = "as_text")]
    pub tags: TagPattern,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<Vec<Text<Subject>>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub immutable: bool,
}

/// A form that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the rule for the tags {tags} of {repositories} needs either `protected` with a list of who may push, or `immutable = true`"
)]
pub struct TagRuleError {
    repositories: PathPattern,
    tags: TagPattern,
}

impl TryFrom<TagRuleForm> for TagRule {
    type Error = TagRuleError;

    fn try_from(
        TagRuleForm { repositories, tags, protected, immutable }: TagRuleForm,
    ) -> Result<Self, TagRuleError> {
        let effect = match (protected, immutable) {
            (Some(allowed), false) => {
                TagEffect::Protected { allowed: allowed.into_iter().map(|Text(subject)| subject).collect() }
            }
            (None, true) => TagEffect::Immutable,
            _ => return Err(TagRuleError { repositories, tags }),
        };
        Ok(Self { repositories, tags, effect })
    }
}

impl From<TagRule> for TagRuleForm {
    fn from(TagRule { repositories, tags, effect }: TagRule) -> Self {
        let (protected, immutable) = match effect {
            TagEffect::Protected { allowed } => (Some(allowed.into_iter().map(Text).collect()), false),
            TagEffect::Immutable => (None, true),
        };
        Self { repositories, tags, protected, immutable }
    }
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleSource {
    /// The server's configuration, which alone can change it.
    Configuration,
    /// The store, under this id.
    Stored(i64),
}

impl fmt::Display for RuleSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => f.write_str("the configuration"),
            Self::Stored(id) => write!(f, "tag rule {id}"),
        }
    }
}

/// A rule with its source; shown as a clause such as `tag rule 3 makes v* in team/** immutable`.
#[derive(Debug, Clone, Copy)]
pub struct SourcedRule<'r> {
    pub source: RuleSource,
    pub rule: &'r TagRule,
}

impl fmt::Display for SourcedRule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TagRule { repositories, tags, effect } = self.rule;
        match effect {
            TagEffect::Immutable => write!(f, "{} makes {tags} in {repositories} immutable", self.source),
            TagEffect::Protected { allowed } if allowed.is_empty() => {
                write!(f, "{} keeps {tags} in {repositories} for administrators", self.source)
            }
            TagEffect::Protected { allowed } => {
                let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "{} keeps {tags} in {repositories} for {} and administrators",
                    self.source,
                    names.join(", ")
                )
            }
        }
    }
}

impl SourcedRule<'_> {
    pub fn is_immutable(&self) -> bool {
        matches!(self.rule.effect, TagEffect::Immutable)
    }

    /// Whether the rule lets `requester` do `action` to a tag that it is for. A push to an immutable tag is let
    /// through: whether it moves the tag is decided where it is stored.
    pub fn lets(&self, action: Action, requester: &Requester) -> bool {
        match (&self.rule.effect, action) {
            (_, Action::Pull) | (TagEffect::Immutable, Action::Push) => true,
            (TagEffect::Immutable, Action::Delete) => false,
            (TagEffect::Protected { allowed }, Action::Push | Action::Delete) => {
                requester.admin || allowed.iter().any(|subject| requester.is(subject))
            }
        }
    }
}

/// Who asks to push or delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    pub account: Option<AccountName>,
    pub logged_in: bool,
    pub admin: bool,
}

impl Requester {
    /// Somebody of whom it is not known that he is an administrator.
    pub fn of(identity: &Identity) -> Self {
        Self {
            account: identity.subject.as_deref().and_then(|subject| subject.parse().ok()),
            logged_in: identity.subject.is_some() || identity.auth_type != AuthType::None,
            admin: false,
        }
    }

    fn is(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Everyone => true,
            Subject::LoggedIn => self.logged_in,
            Subject::Account(name) => self.account.as_ref() == Some(name),
        }
    }
}

/// The rules in force at one moment: the configuration's and the store's.
#[derive(Debug, Clone, Default)]
pub struct TagRules {
    configured: Arc<[TagRule]>,
    stored: Arc<Vec<TagRuleRecord>>,
}

impl TagRules {
    pub fn new(configured: Arc<[TagRule]>, stored: Arc<Vec<TagRuleRecord>>) -> Self {
        Self { configured, stored }
    }

    /// All rules, the configuration's first.
    pub fn iter(&self) -> impl Iterator<Item = SourcedRule<'_>> {
        let configured =
            self.configured.iter().map(|rule| SourcedRule { source: RuleSource::Configuration, rule });
        let stored =
            self.stored.iter().map(|row| SourcedRule { source: RuleSource::Stored(row.id), rule: &row.rule });
        configured.chain(stored)
    }

    /// Whether any rule is for tags of the repository.
    pub fn concern(&self, repository: &RepositoryName) -> bool {
        self.iter().any(|sourced| sourced.rule.repositories.matches(repository))
    }

    /// The rules for a tag.
    pub fn of<'r>(
        &'r self,
        repository: &'r RepositoryName,
        tag: &'r Tag,
    ) -> impl Iterator<Item = SourcedRule<'r>> {
        self.iter()
            .filter(|sourced| sourced.rule.tags.matches(tag) && sourced.rule.repositories.matches(repository))
    }

    /// The rule that holds a tag immutable, if one does.
    pub fn immutable<'r>(&'r self, repository: &'r RepositoryName, tag: &'r Tag) -> Option<SourcedRule<'r>> {
        self.of(repository, tag).find(SourcedRule::is_immutable)
    }

    /// The rule by which `requester` may not do `action` to a tag, if there is one.
    pub fn refusal<'r>(
        &'r self,
        repository: &'r RepositoryName,
        tag: &'r Tag,
        action: Action,
        requester: &Requester,
    ) -> Option<SourcedRule<'r>> {
        self.of(repository, tag).find(|sourced| !sourced.lets(action, requester))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(repositories: &str, tags: &str, allowed: Option<&[&str]>) -> TagRule {
        let effect = match allowed {
            Some(names) => {
                TagEffect::Protected { allowed: names.iter().map(|name| name.parse().unwrap()).collect() }
            }
            None => TagEffect::Immutable,
        };
        TagRule { repositories: repositories.parse().unwrap(), tags: tags.parse().unwrap(), effect }
    }

    fn rules() -> TagRules {
        let stored = [rule("**", "v*", None), rule("team/**", "release-*", Some(&["anna", "ci"]))];
        let stored = stored.into_iter().zip(3..).map(|(rule, id)| TagRuleRecord { id, rule }).collect();
        TagRules::new(
            [rule("team/*", "release-9*", Some(&[])), rule("open", "*", Some(&["logged-in"]))].into(),
            Arc::new(stored),
        )
    }

    fn requester(name: &str) -> Requester {
        match name {
            "" => Requester::of(&Identity::anonymous()),
            "root" => Requester { admin: true, ..Requester::of(&Identity::named("root")) },
            name => Requester::of(&Identity::named(name)),
        }
    }

    fn refusal(name: &str, action: Action, repository: &str, tag: &str) -> Option<String> {
        let (rules, repository, tag) = (rules(), repository.parse().unwrap(), tag.parse().unwrap());
        rules.refusal(&repository, &tag, action, &requester(name)).map(|rule| rule.to_string())
    }

    #[test]
    fn a_protected_tag_is_for_those_it_names_and_administrators() {
        use Action::{Delete, Pull, Push};
        assert_eq!(refusal("anna", Push, "team/app", "release-1"), None);
        assert_eq!(refusal("root", Delete, "team/app", "release-1"), None);
        for action in [Push, Delete] {
            assert_eq!(
                refusal("eve", action, "team/app", "release-1").unwrap(),
                "tag rule 4 keeps release-* in team/** for account:anna, account:ci and administrators"
            );
        }
        assert_eq!(refusal("eve", Pull, "team/app", "release-1"), None);
        assert_eq!(refusal("eve", Push, "team/app", "other"), None);
        assert_eq!(refusal("eve", Push, "other/app", "release-1"), None);
        assert_eq!(refusal("eve", Push, "open", "x"), None);
        assert!(refusal("", Push, "open", "x").is_some());
    }

    #[test]
    fn every_rule_for_a_tag_must_let_the_request_through() {
        let refused = refusal("anna", Action::Push, "team/app", "release-9.1").unwrap();
        assert_eq!(refused, "the configuration keeps release-9* in team/* for administrators");
        assert_eq!(refusal("root", Action::Push, "team/app", "release-9.1"), None);
    }

    #[test]
    fn nobody_deletes_an_immutable_tag_and_anyone_may_push_it_first() {
        assert_eq!(refusal("eve", Action::Push, "any/thing", "v1"), None);
        let refused = refusal("root", Action::Delete, "any/thing", "v1").unwrap();
        assert_eq!(refused, "tag rule 3 makes v* in ** immutable");
        let rules = rules();
        let (name, tag): (RepositoryName, Tag) = ("a".parse().unwrap(), "latest".parse().unwrap());
        assert!(rules.immutable(&name, &tag).is_none());
        assert!(rules.concern(&name));
        assert!(!TagRules::default().concern(&name));
    }

    #[test]
    fn a_form_is_one_rule_or_none() {
        let form = |text: &str| serde_json::from_str::<TagRuleForm>(text).map_err(|error| error.to_string());
        for text in [
            r#"{"repositories":"team/**","tags":"v*","immutable":true}"#,
            r#"{"repositories":"team/**","tags":"v*","protected":["account:ci","logged-in"]}"#,
        ] {
            let rule = TagRule::try_from(form(text).unwrap()).unwrap();
            assert_eq!(serde_json::to_string(&TagRuleForm::from(rule)).unwrap(), text);
        }
        for text in [
            r#"{"repositories":"team/**","tags":"v*"}"#,
            r#"{"repositories":"team/**","tags":"v*","immutable":true,"protected":[]}"#,
        ] {
            let refused = TagRule::try_from(form(text).unwrap()).unwrap_err().to_string();
            assert!(refused.contains("v* of team/**"), "{refused}");
        }
        assert!(
            form(r#"{"repositories":"team/**","tags":"v*","imutable":true}"#)
                .unwrap_err()
                .contains("imutable")
        );
    }
}
