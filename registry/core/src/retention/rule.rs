//! What stays and what goes, as people write it.

use registry_types::TagPattern;
use serde::{Deserialize, Serialize};

use crate::{Age, Text};

/// Which tags end. A tag is in the rule's hands if it matches `remove_tags` and was pushed longer ago than
/// `remove_older_than`; it goes unless one of the `keep_...` holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionRule {
    /// The newest so many tags stay, of those that match `remove_tags` and that neither `keep_tags` nor a tag rule
    /// keeps anyway. By time of push, and by name where that is the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_newest: Option<usize>,
    /// The same among the tags of one pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep_newest_of: Vec<NewestOf>,
    /// Tags that stay for ever.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep_tags: Vec<Text<TagPattern>>,
    /// Tags pushed so lately stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_pushed_within: Option<Text<Age>>,
    /// Tags whose manifest was pulled so lately stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_pulled_within: Option<Text<Age>>,
    /// Only these may go; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_tags: Vec<Text<TagPattern>>,
    /// Only what was pushed longer ago goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_older_than: Option<Text<Age>>,
}

/// So many tags of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewestOf {
    #[serde(with = "crate::as_text")]
    pub tags: TagPattern,
    pub count: usize,
}

/// Most tags that one `keep_newest` counts: they are held in memory while a repository is decided.
const MOST_NEWEST: usize = 10_000;
/// Most patterns in one rule: each is tried on each tag.
const MOST_PATTERNS: usize = 64;

/// Why a rule is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error(
        "the rule would remove every tag at once: give keep_newest, keep_newest_of, keep_pushed_within, \
         keep_pulled_within or remove_older_than"
    )]
    RemovesAll,
    #[error("the rule counts more than {MOST_NEWEST} newest tags: keep by age instead")]
    CountsTooMany,
    #[error("the rule has more than {MOST_PATTERNS} patterns of tags: join them with *")]
    TooManyPatterns,
}

impl RetentionRule {
    /// Refuses a rule that nobody can mean.
    pub fn check(&self) -> Result<(), RuleError> {
        let narrowed = self.keep_newest.is_some()
            || !self.keep_newest_of.is_empty()
            || self.keep_pushed_within.is_some()
            || self.keep_pulled_within.is_some()
            || self.remove_older_than.is_some();
        if !narrowed {
            return Err(RuleError::RemovesAll);
        }
        let counts = self.keep_newest.iter().chain(self.keep_newest_of.iter().map(|newest| &newest.count));
        if counts.into_iter().any(|count| *count > MOST_NEWEST) {
            return Err(RuleError::CountsTooMany);
        }
        if self.keep_newest_of.len() + self.keep_tags.len() + self.remove_tags.len() > MOST_PATTERNS {
            return Err(RuleError::TooManyPatterns);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_strictly_and_written_back() {
        let text = r#"{"keep_newest":10,"keep_newest_of":[{"tags":"main-*","count":5}],"keep_tags":["latest","v*"],"keep_pushed_within":"1w","keep_pulled_within":"14h","remove_tags":["*"],"remove_older_than":"90d"}"#;
        let rule: RetentionRule = serde_json::from_str(text).unwrap();
        rule.check().unwrap();
        assert_eq!(serde_json::to_string(&rule).unwrap(), text);
        for bad in [
            r#"{"keep_newset":1}"#,
            r#"{"keep_tags":["a b"]}"#,
            r#"{"keep_pushed_within":"30"}"#,
            r#"{"keep_newest_of":[{"tags":"a"}]}"#,
        ] {
            assert!(serde_json::from_str::<RetentionRule>(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_rule_that_nobody_can_mean_is_refused() {
        let rule = |text: &str| serde_json::from_str::<RetentionRule>(text).unwrap().check();
        assert_eq!(rule("{}"), Err(RuleError::RemovesAll));
        assert_eq!(rule(r#"{"keep_tags":["v*"],"remove_tags":["tmp-*"]}"#), Err(RuleError::RemovesAll));
        assert_eq!(rule(r#"{"keep_newest":10001}"#), Err(RuleError::CountsTooMany));
        let patterns = vec!["x"; 65];
        let many = serde_json::json!({ "keep_newest": 1, "keep_tags": patterns }).to_string();
        assert_eq!(rule(&many), Err(RuleError::TooManyPatterns));
        rule(r#"{"keep_newest":0}"#).unwrap();
    }
}
