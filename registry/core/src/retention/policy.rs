//! Policies as they are stored, and which of them govern a repository.

use registry_metadata::{NewRetention, RetentionRecord};
use registry_types::{PathPrefix, RepositoryName};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{RetentionRule, Schedule};
use crate::CoreError;

/// Who made a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyOrigin {
    /// The server's configuration, which alone can change it.
    Configuration,
    /// An operator, beside the running server.
    Operator,
}

/// A retention policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    pub prefix: PathPrefix,
    pub schedule: Schedule,
    pub rule: RetentionRule,
    pub origin: PolicyOrigin,
}

/// What the store keeps as text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRule {
    origin: PolicyOrigin,
    rule: RetentionRule,
}

impl RetentionPolicy {
    /// The policy in the form of the store.
    pub fn to_stored(&self) -> Result<NewRetention, CoreError> {
        let stored = StoredRule { origin: self.origin, rule: self.rule.clone() };
        let rule = serde_json::to_string(&stored).map_err(|error| CoreError::Internal {
            reason: format!("a retention rule is no JSON: {error}"),
        })?;
        Ok(NewRetention { prefix: self.prefix.clone(), rule, schedule: self.schedule.to_string() })
    }
}

/// A policy of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPolicy {
    pub id: i64,
    pub policy: RetentionPolicy,
    /// When its last run began.
    pub started_at: Option<OffsetDateTime>,
}

impl TryFrom<RetentionRecord> for StoredPolicy {
    type Error = CoreError;

    fn try_from(record: RetentionRecord) -> Result<Self, CoreError> {
        let unreadable = |reason: String| CoreError::Internal {
            reason: format!("retention policy {} cannot be read: {reason}; no policy runs", record.id),
        };
        let StoredRule { origin, rule } =
            serde_json::from_str(&record.policy.rule).map_err(|error| unreadable(error.to_string()))?;
        let schedule = record
            .policy
            .schedule
            .parse()
            .map_err(|error: crate::TextError| unreadable(error.to_string()))?;
        let policy = RetentionPolicy { prefix: record.policy.prefix, schedule, rule, origin };
        Ok(Self { id: record.id, policy, started_at: record.started_at })
    }
}

/// All policies of a store.
#[derive(Debug, Clone, Default)]
pub struct RetentionPolicies(Vec<StoredPolicy>);

impl RetentionPolicies {
    /// # Errors
    /// When a single one cannot be read: without it others would govern what it governs.
    pub fn read(records: Vec<RetentionRecord>) -> Result<Self, CoreError> {
        records.into_iter().map(TryInto::try_into).collect::<Result<_, _>>().map(Self)
    }

    pub fn as_slice(&self) -> &[StoredPolicy] {
        &self.0
    }

    /// The policies of the longest prefix that covers the repository.
    pub fn governing(&self, repository: &RepositoryName) -> Vec<&StoredPolicy> {
        let covering = || self.0.iter().filter(|stored| stored.policy.prefix.covers(repository));
        let longest = covering().map(|stored| length(&stored.policy.prefix)).max();
        covering().filter(|stored| Some(length(&stored.policy.prefix)) == longest).collect()
    }
}

fn length(prefix: &PathPrefix) -> usize {
    prefix.path().map_or(0, |path| path.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: i64, prefix: &str, keep_newest: usize) -> RetentionRecord {
        let policy = RetentionPolicy {
            prefix: prefix.parse().unwrap(),
            schedule: "hourly".parse().unwrap(),
            rule: RetentionRule { keep_newest: Some(keep_newest), ..RetentionRule::default() },
            origin: PolicyOrigin::Operator,
        };
        RetentionRecord { id, policy: policy.to_stored().unwrap(), started_at: None }
    }

    #[test]
    fn the_longest_prefix_governs() {
        let records =
            vec![record(1, "*", 100), record(2, "team", 10), record(3, "team/tmp", 1), record(4, "team", 5)];
        let policies = RetentionPolicies::read(records).unwrap();
        let governing = |name: &str| -> Vec<i64> {
            policies.governing(&name.parse().unwrap()).iter().map(|stored| stored.id).collect()
        };
        assert_eq!(governing("other"), [1]);
        assert_eq!(governing("teams"), [1]);
        assert_eq!(governing("team/app"), [2, 4]);
        assert_eq!(governing("team/tmp/x"), [3]);
    }

    #[test]
    fn a_policy_survives_the_store_and_one_that_cannot_be_read_stops_all() {
        let stored = record(7, "team", 3);
        let read = StoredPolicy::try_from(stored.clone()).unwrap();
        assert_eq!(read.policy.to_stored().unwrap(), stored.policy);
        let mut newer = record(8, "team", 3);
        newer.policy.rule = newer.policy.rule.replace("keep_newest", "keep_prettiest");
        let refused = RetentionPolicies::read(vec![stored, newer]).unwrap_err();
        assert!(refused.to_string().contains("retention policy 8"), "{refused}");
    }
}
