//! Tag rules, quotas and retention policies of the configuration file: `[[tag_rules]]`, `[[quotas]]` and
//! `[[retention]]`. They hold beside those that operators set in the store, and only the file changes them.

use registry_core::{
    ByteSize, PolicyOrigin, RetentionPolicy, RetentionRule, Schedule, TagRuleForm, Text, as_text,
};
use registry_metadata::TagRule;
use registry_types::PathPrefix;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::ServerError;

/// A limit for the bytes under a prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// A path, or `*` for all.
    #[serde(with = "as_text")]
    pub prefix: PathPrefix,
    /// Such as `50GiB`.
    #[serde(with = "as_text")]
    pub bytes: ByteSize,
}

/// A retention policy: the rule stands in a table of its own, `[retention.rule]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// A path, or `*` for all.
    #[serde(with = "as_text")]
    pub prefix: PathPrefix,
    #[serde(with = "as_text")]
    pub schedule: Schedule,
    pub rule: RetentionRule,
}

impl Config {
    /// The tag rules of the configuration.
    pub fn configured_tag_rules(&self) -> Result<Vec<TagRule>, ServerError> {
        let rule = |form: &TagRuleForm| {
            TagRule::try_from(form.clone())
                .map_err(|error| ServerError::Config(format!("tag_rules: {error}")))
        };
        self.tag_rules.iter().map(rule).collect()
    }

    /// The retention policies of the configuration.
    pub fn configured_retention(&self) -> Vec<RetentionPolicy> {
        let policy = |RetentionConfig { prefix, schedule, rule }: &RetentionConfig| RetentionPolicy {
            prefix: prefix.clone(),
            schedule: schedule.clone(),
            rule: rule.clone(),
            origin: PolicyOrigin::Configuration,
        };
        self.retention.iter().map(policy).collect()
    }

    /// The quota that the configuration sets for exactly this prefix.
    pub fn configured_quota(&self, prefix: &PathPrefix) -> Option<ByteSize> {
        self.quotas.iter().find(|quota| quota.prefix == *prefix).map(|quota| quota.bytes)
    }

    pub(super) fn check_policies(&self) -> Result<(), ServerError> {
        self.configured_tag_rules()?;
        for RetentionConfig { prefix, rule, .. } in &self.retention {
            rule.check().map_err(|error| ServerError::Config(format!("retention for {prefix}: {error}")))?;
        }
        for (place, QuotaConfig { prefix, .. }) in self.quotas.iter().enumerate() {
            if self.quotas.iter().take(place).any(|earlier| earlier.prefix == *prefix) {
                return Err(ServerError::Config(format!("quotas: there are two for {prefix}")));
            }
        }
        if self.limits.layer_bytes == Some(Text(ByteSize(0))) {
            return Err(ServerError::Config(
                "limits.layer_bytes must be above zero; limits.read_only takes no layer at all".to_owned(),
            ));
        }
        Ok(())
    }
}
