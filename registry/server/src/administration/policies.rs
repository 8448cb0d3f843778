//! Tag rules, quotas and retention, beside a running server. Those of the configuration are shown with the others;
//! only the file changes them.

use registry_core::{
    Explained, PolicyOrigin, Question, Retention, RetentionDecision, RetentionPolicy, RetentionRun, RunMode,
    StoredPolicy,
};
use registry_metadata::{AnyMetadata, PolicyMetadata, QuotaRecord, TagRule, TagRuleRecord};
use registry_types::PathPrefix;

use super::Administration;
use crate::{Config, ServerError, events};

/// Puts the quotas and retention policies of the configuration into the store, where they are counted and run.
pub(crate) async fn adopt(metadata: &AnyMetadata, config: &Config) -> Result<(), ServerError> {
    let quotas = metadata.quotas().await?;
    for wanted in &config.quotas {
        let set =
            quotas.iter().any(|quota| quota.prefix == wanted.prefix && quota.limit_bytes == wanted.bytes.0);
        if !set {
            metadata.set_quota(&wanted.prefix, wanted.bytes.0).await?;
        }
    }
    Ok(retention(metadata, config).adopt(&config.configured_retention()).await?)
}

pub(crate) fn retention(metadata: &AnyMetadata, config: &Config) -> Retention<AnyMetadata> {
    let events = events::events(config, config.listen.port());
    Retention::new(metadata.clone(), config.limits().tag_rules).with_events(events)
}

/// A quota, and whether the configuration sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedQuota {
    pub quota: QuotaRecord,
    pub configured: bool,
}

impl Administration {
    /// The tag rules of the configuration, and those of the store.
    pub async fn tag_rules(&self) -> Result<(Vec<TagRule>, Vec<TagRuleRecord>), ServerError> {
        let configured = self.config.limits().tag_rules.to_vec();
        Ok((configured, self.metadata.tag_rules().await?.to_vec()))
    }

    pub async fn add_tag_rule(&self, rule: &TagRule) -> Result<TagRuleRecord, ServerError> {
        Ok(self.metadata.add_tag_rule(rule).await?)
    }

    /// False when there was none.
    pub async fn remove_tag_rule(&self, id: i64) -> Result<bool, ServerError> {
        Ok(self.metadata.delete_tag_rule(id).await?)
    }

    pub async fn quotas(&self) -> Result<Vec<ListedQuota>, ServerError> {
        let listed = |quota: QuotaRecord| {
            let configured = self.config.configured_quota(&quota.prefix).is_some();
            ListedQuota { quota, configured }
        };
        Ok(self.metadata.quotas().await?.into_iter().map(listed).collect())
    }

    /// Sets the limit for a prefix.
    ///
    /// # Errors
    /// [`ServerError::Config`] when the configuration sets it.
    pub async fn set_quota(&self, prefix: &PathPrefix, bytes: u64) -> Result<QuotaRecord, ServerError> {
        self.refuse_configured_quota(prefix)?;
        Ok(self.metadata.set_quota(prefix, bytes).await?)
    }

    /// False when there was none.
    ///
    /// # Errors
    /// [`ServerError::Config`] when the configuration sets it.
    pub async fn remove_quota(&self, id: i64) -> Result<bool, ServerError> {
        if let Some(quota) = self.metadata.quotas().await?.iter().find(|quota| quota.id == id) {
            self.refuse_configured_quota(&quota.prefix)?;
        }
        Ok(self.metadata.delete_quota(id).await?)
    }

    fn refuse_configured_quota(&self, prefix: &PathPrefix) -> Result<(), ServerError> {
        match self.config.configured_quota(prefix) {
            Some(_) => Err(ServerError::Config(format!(
                "the configuration sets the quota for {prefix}: change it there"
            ))),
            None => Ok(()),
        }
    }

    pub async fn retention_policies(&self) -> Result<Vec<StoredPolicy>, ServerError> {
        Ok(self.retention().policies().await?.as_slice().to_vec())
    }

    /// Adds a policy and gives its id.
    ///
    /// # Errors
    /// [`ServerError::Config`] for a rule that nobody can mean.
    pub async fn add_retention(&self, policy: &RetentionPolicy) -> Result<i64, ServerError> {
        policy.rule.check().map_err(|error| ServerError::Config(error.to_string()))?;
        Ok(self.metadata.add_retention(&policy.to_stored()?).await?.id)
    }

    /// False when there was none.
    ///
    /// # Errors
    /// [`ServerError::Config`] for a policy of the configuration.
    pub async fn remove_retention(&self, id: i64) -> Result<bool, ServerError> {
        let policies = self.retention().policies().await?;
        let stored = policies.as_slice().iter().find(|stored| stored.id == id);
        if stored.is_some_and(|stored| stored.policy.origin == PolicyOrigin::Configuration) {
            return Err(ServerError::Config(format!(
                "retention policy {id} is the configuration's: take it out there and start the server again"
            )));
        }
        Ok(self.metadata.delete_retention(id).await?)
    }

    /// Runs the policies of one prefix or all, at once; `told` gets each decision.
    ///
    /// # Errors
    /// [`ServerError::Config`] for a run that removes while a server runs on the data folder's database: it answers
    /// tags from memory, so only it may remove them.
    pub async fn run_retention(
        &self,
        only: Option<&PathPrefix>,
        mode: RunMode,
        told: impl FnMut(RetentionDecision),
    ) -> Result<RetentionRun, ServerError> {
        let shared = self.config.metadata.url.is_some();
        if mode == RunMode::Remove && self.lock.is_none() && !shared {
            return Err(ServerError::Config(
                "a server uses this data and runs the policies by their schedules: give a policy a nearer schedule \
                 such as `every 1m`, use --dry-run, or stop the server first"
                    .to_owned(),
            ));
        }
        Ok(self.retention().run(only, mode, told).await?)
    }

    /// Whether somebody may do something, and which rules say so.
    pub async fn explain_rights(&self, question: &Question) -> Result<Explained, ServerError> {
        Ok(question.answer(&self.metadata, &self.config.limits()).await?)
    }

    fn retention(&self) -> Retention<AnyMetadata> {
        retention(&self.metadata, &self.config)
    }
}
