//! Retention: which tags end, and when.
//!
//! A policy is for the repositories under a prefix. The policies with the longest prefix that covers a repository
//! govern it, and they act together: a tag goes if one of them removes it and none of them keeps it. Tags that a
//! tag rule protects or holds immutable stay whatever a policy says.
//!
//! Retention removes tags and nothing else. Whether a manifest that lost its last tag goes is decided by
//! collection, which keeps what an index, a subject or another tag refers to.

mod decide;
mod policy;
mod rule;
mod run;
mod schedule;

pub use self::{
    decide::{RetentionDecision, RetentionReason, RetentionVerdict, decide},
    policy::{PolicyOrigin, RetentionPolicies, RetentionPolicy, StoredPolicy},
    rule::{NewestOf, RetentionRule, RuleError},
    run::{Retention, RetentionRun, RunMode, Timetable},
    schedule::Schedule,
};
