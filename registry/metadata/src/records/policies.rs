//! Rules that narrow what a push or a delete may do, and when tags end.

use registry_types::{PathPattern, PathPrefix, Subject, TagPattern};
use time::OffsetDateTime;

/// A rule for the tags that match it in the repositories that match it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRule {
    pub repositories: PathPattern,
    pub tags: TagPattern,
    pub effect: TagEffect,
}

/// What a tag rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagEffect {
    /// Only these may push and delete the tags; nobody but an administrator if there are none.
    Protected { allowed: Vec<Subject> },
    /// The tags stay on the manifest they were first pushed with.
    Immutable,
}

/// A stored tag rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRuleRecord {
    pub id: i64,
    pub rule: TagRule,
}

/// A retention policy for everything under a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRetention {
    pub prefix: PathPrefix,
    /// What stays and what goes, as JSON; the store does not read it.
    pub rule: String,
    /// When it runs, in a text that the store does not read.
    pub schedule: String,
}

/// A stored retention policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRecord {
    pub id: i64,
    pub policy: NewRetention,
    /// When its last run began.
    pub started_at: Option<OffsetDateTime>,
}

/// A limit for the blobs under a prefix. Each distinct blob counts once, however many repositories link it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaRecord {
    pub id: i64,
    pub prefix: PathPrefix,
    pub limit_bytes: u64,
    pub used_bytes: u64,
}
