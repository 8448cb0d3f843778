//! The decision on each tag of a repository: pure, from its times, the rules that govern the repository and now.
//!
//! Two passes over the tags, so that memory is bounded by what the rules count and not by the number of tags:
//! the first finds the oldest tag that each `keep_newest` still keeps, the second decides.

use std::{cmp::Reverse, collections::BinaryHeap, fmt};

use registry_metadata::TagRecord;
use registry_types::{Digest, RepositoryName, Tag, TagPattern};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::RetentionRule;
use crate::{Age, as_text};

/// What becomes of a tag, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetentionDecision {
    #[serde(with = "as_text")]
    pub repository: RepositoryName,
    pub tag: Tag,
    pub digest: Digest,
    #[serde(with = "time::serde::rfc3339")]
    pub pushed_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub pulled_at: Option<OffsetDateTime>,
    #[serde(flatten)]
    pub verdict: RetentionVerdict,
}

/// As JSON an object with `verdict` (`keep` or `remove`) and the reason as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "lowercase")]
pub enum RetentionVerdict {
    Keep(RetentionReason),
    Remove(RetentionReason),
}

impl RetentionVerdict {
    pub fn removes(&self) -> bool {
        matches!(self, Self::Remove(_))
    }

    pub fn reason(&self) -> &RetentionReason {
        match self {
            Self::Keep(reason) | Self::Remove(reason) => reason,
        }
    }
}

/// Why a tag stays or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetentionReason {
    /// A tag rule, by its description.
    TagRule {
        rule: String,
    },
    KeepTags {
        pattern: TagPattern,
    },
    Newest {
        count: usize,
    },
    NewestOf {
        pattern: TagPattern,
        count: usize,
    },
    PushedWithin {
        age: Age,
    },
    PulledWithin {
        age: Age,
    },
    /// No pattern of `remove_tags` matches.
    NotNamed,
    /// Pushed within `remove_older_than`.
    TooYoung {
        age: Age,
    },
    /// It was pushed or deleted by somebody else since it was listed.
    Changed,
    /// Nothing keeps it, and it was pushed longer ago than this.
    OlderThan {
        age: Age,
    },
    /// Nothing keeps it.
    Unkept,
}

impl fmt::Display for RetentionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TagRule { rule } => write!(f, "{rule}"),
            Self::KeepTags { pattern } => write!(f, "it matches {pattern} of keep_tags"),
            Self::Newest { count } => write!(f, "it is among the newest {count}"),
            Self::NewestOf { pattern, count } => write!(f, "it is among the newest {count} of {pattern}"),
            Self::PushedWithin { age } => write!(f, "it was pushed within {age}"),
            Self::PulledWithin { age } => write!(f, "it was pulled within {age}"),
            Self::NotNamed => f.write_str("no pattern of remove_tags matches it"),
            Self::TooYoung { age } => write!(f, "it is not older than {age}"),
            Self::Changed => f.write_str("it was pushed again or deleted meanwhile"),
            Self::OlderThan { age } => write!(f, "it is older than {age} and nothing keeps it"),
            Self::Unkept => f.write_str("nothing keeps it"),
        }
    }
}

impl Serialize for RetentionReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Decides on all tags of a repository. `held` describes the tag rule that holds a tag, if one does.
pub fn decide<'t>(
    tags: &'t [TagRecord],
    rules: &[&RetentionRule],
    held: impl Fn(&Tag) -> Option<String>,
    now: OffsetDateTime,
) -> Vec<(&'t TagRecord, RetentionVerdict)> {
    let mut deciding = Deciding::new(rules, held);
    for tag in tags {
        deciding.note(tag);
    }
    tags.iter().map(|tag| (tag, deciding.verdict(tag, now))).collect()
}

/// The two passes: [`note`](Self::note) each tag, then ask for each [`verdict`](Self::verdict).
pub(super) struct Deciding<'r, H> {
    rules: Vec<RuleState<'r>>,
    held: H,
}

struct RuleState<'r> {
    rule: &'r RetentionRule,
    newest: Option<Newest>,
    newest_of: Vec<(&'r TagPattern, Newest)>,
}

impl<'r, H: Fn(&Tag) -> Option<String>> Deciding<'r, H> {
    pub(super) fn new(rules: &[&'r RetentionRule], held: H) -> Self {
        let state = |rule: &&'r RetentionRule| RuleState {
            rule,
            newest: rule.keep_newest.map(Newest::of),
            newest_of: rule.keep_newest_of.iter().map(|of| (&of.tags, Newest::of(of.count))).collect(),
        };
        Self { rules: rules.iter().map(state).collect(), held }
    }

    pub(super) fn note(&mut self, tag: &TagRecord) {
        if (self.held)(&tag.tag).is_some() {
            return;
        }
        for state in &mut self.rules {
            if !named(state.rule, &tag.tag) || keeping_pattern(state.rule, &tag.tag).is_some() {
                continue;
            }
            if let Some(newest) = &mut state.newest {
                newest.note(tag);
            }
            for (pattern, newest) in &mut state.newest_of {
                if pattern.matches(&tag.tag) {
                    newest.note(tag);
                }
            }
        }
    }

    pub(super) fn verdict(&self, tag: &TagRecord, now: OffsetDateTime) -> RetentionVerdict {
        if let Some(rule) = (self.held)(&tag.tag) {
            return RetentionVerdict::Keep(RetentionReason::TagRule { rule });
        }
        if let Some(reason) = self.rules.iter().find_map(|state| state.keeps(tag, now)) {
            return RetentionVerdict::Keep(reason);
        }
        let mut left = RetentionReason::NotNamed;
        for state in &self.rules {
            match removal(state.rule, tag, now) {
                Ok(reason) => return RetentionVerdict::Remove(reason),
                Err(reason) => left = reason,
            }
        }
        RetentionVerdict::Keep(left)
    }
}

impl RuleState<'_> {
    fn keeps(&self, tag: &TagRecord, now: OffsetDateTime) -> Option<RetentionReason> {
        let rule = self.rule;
        if let Some(pattern) = keeping_pattern(rule, &tag.tag) {
            return Some(RetentionReason::KeepTags { pattern: pattern.clone() });
        }
        // What the rule cannot remove takes no place among the newest.
        if named(rule, &tag.tag) {
            if let Some(newest) = self.newest.as_ref().filter(|newest| newest.keeps(tag)) {
                return Some(RetentionReason::Newest { count: newest.count });
            }
            let newest_of = self
                .newest_of
                .iter()
                .find(|(pattern, newest)| pattern.matches(&tag.tag) && newest.keeps(tag));
            if let Some((pattern, newest)) = newest_of {
                let pattern = (*pattern).clone();
                return Some(RetentionReason::NewestOf { pattern, count: newest.count });
            }
        }
        let within = |age: Age, moment: OffsetDateTime| now - moment <= age.duration();
        if let Some(age) = rule.keep_pushed_within.as_ref().map(|age| age.0)
            && within(age, tag.pushed_at)
        {
            return Some(RetentionReason::PushedWithin { age });
        }
        let (age, pulled_at) = (rule.keep_pulled_within.as_ref()?.0, tag.pulled_at?);
        within(age, pulled_at).then_some(RetentionReason::PulledWithin { age })
    }
}

/// Why the rule removes the tag when nothing keeps it, or why it leaves it alone.
fn removal(
    rule: &RetentionRule,
    tag: &TagRecord,
    now: OffsetDateTime,
) -> Result<RetentionReason, RetentionReason> {
    if !named(rule, &tag.tag) {
        return Err(RetentionReason::NotNamed);
    }
    match rule.remove_older_than.as_ref().map(|age| age.0) {
        None => Ok(RetentionReason::Unkept),
        Some(age) if now - tag.pushed_at > age.duration() => Ok(RetentionReason::OlderThan { age }),
        Some(age) => Err(RetentionReason::TooYoung { age }),
    }
}

/// Whether the tag is one that the rule may remove.
fn named(rule: &RetentionRule, tag: &Tag) -> bool {
    rule.remove_tags.is_empty() || rule.remove_tags.iter().any(|pattern| pattern.0.matches(tag))
}

fn keeping_pattern<'r>(rule: &'r RetentionRule, tag: &Tag) -> Option<&'r TagPattern> {
    rule.keep_tags.iter().map(|pattern| &pattern.0).find(|pattern| pattern.matches(tag))
}

/// The newest `count` tags of those noted: by time of push, then by name.
struct Newest {
    count: usize,
    /// The oldest of them on top.
    tags: BinaryHeap<Reverse<(OffsetDateTime, Tag)>>,
}

impl Newest {
    fn of(count: usize) -> Self {
        Self { count, tags: BinaryHeap::new() }
    }

    fn note(&mut self, tag: &TagRecord) {
        self.tags.push(Reverse((tag.pushed_at, tag.tag.clone())));
        if self.tags.len() > self.count {
            self.tags.pop();
        }
    }

    /// Whether the tag, which was noted or pushed since, is among the newest.
    fn keeps(&self, tag: &TagRecord) -> bool {
        if self.tags.len() < self.count {
            return true;
        }
        self.tags
            .peek()
            .is_some_and(|Reverse((pushed_at, oldest))| (tag.pushed_at, &tag.tag) >= (*pushed_at, oldest))
    }
}

#[cfg(test)]
mod tests;
