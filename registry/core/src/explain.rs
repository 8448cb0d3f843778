//! Whether somebody may do something, with every rule that has a say: what an operator asks when a push was
//! refused, or before one is allowed.

use registry_auth::{Delete, Identity, Permission, Pull, Push};
use registry_metadata::{Metadata, QuotaRecord, RuleRecord};
use registry_types::{AccountName, Action, ActionSet, Reference, RepositoryName, Tag};
use serde::Serialize;

use crate::{Authority, ByteSize, CoreError, Limits, Requester, Retention, TagRules};

/// Who, what, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// `None`: somebody who is not logged in.
    pub account: Option<AccountName>,
    pub action: Action,
    pub repository: RepositoryName,
    pub tag: Option<Tag>,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "says", content = "rule", rename_all = "lowercase")]
pub enum Ruling {
    Allows(String),
    Refuses(String),
    /// It decides nothing now, and may later.
    Notes(String),
}

/// The answer: allowed unless something refuses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    pub allowed: bool,
    pub rulings: Vec<Ruling>,
}

impl Question {
    /// Asks the rules of `metadata` and those of the server's configuration, which `limits` hold.
    pub async fn answer<M: Metadata>(&self, metadata: &M, limits: &Limits) -> Result<Explained, CoreError> {
        let mut rulings = Vec::new();
        let requester = self.access(metadata, limits, &mut rulings).await?;
        let writes = self.action != Action::Pull;
        if writes && limits.read_only {
            rulings.push(Ruling::Refuses("limits.read_only: nothing is written".to_owned()));
        }
        let rules = TagRules::new(limits.tag_rules.clone(), metadata.tag_rules().await?);
        self.tag_rules(metadata, &rules, &requester, &mut rulings).await?;
        if self.action == Action::Push {
            for quota in metadata.quotas().await? {
                if quota.prefix.covers(&self.repository) {
                    rulings.push(quota_ruling(&quota));
                }
            }
            if let Some(limit) = limits.layer_bytes {
                let limit = ByteSize(limit);
                rulings.push(Ruling::Notes(format!("limits.layer_bytes: no layer above {limit} is taken")));
            }
        }
        if writes {
            let policies = Retention::new(metadata.clone(), limits.tag_rules.clone()).policies().await?;
            for stored in policies.governing(&self.repository) {
                let (id, prefix, schedule) = (stored.id, &stored.policy.prefix, &stored.policy.schedule);
                rulings.push(Ruling::Notes(format!(
                    "retention policy {id} for {prefix} removes tags {schedule}"
                )));
            }
        }
        let allowed = !rulings.iter().any(|ruling| matches!(ruling, Ruling::Refuses(_)));
        Ok(Explained { allowed, rulings })
    }

    /// What access rights say.
    async fn access<M: Metadata>(
        &self,
        metadata: &M,
        limits: &Limits,
        rulings: &mut Vec<Ruling>,
    ) -> Result<Requester, CoreError> {
        let identity = match &self.account {
            Some(name) => Identity::named(name.as_str()),
            None => Identity::anonymous(),
        };
        let mut requester = Requester::of(&identity);
        match limits.authority {
            Authority::Nobody => {
                rulings.push(Ruling::Allows("auth.mode none: everyone may do everything".to_owned()));
                return Ok(requester);
            }
            Authority::Gitlab => {
                rulings.push(Ruling::Notes(
                    "auth.mode gitlab: the token that GitLab gives decides first".to_owned(),
                ));
                return Ok(requester);
            }
            Authority::Accounts => {}
        }
        if let Some(name) = &self.account {
            let Some(account) = metadata.account(name).await? else {
                rulings.push(Ruling::Refuses(format!("there is no account {name}")));
                return Ok(requester);
            };
            requester.admin = account.admin;
            if account.admin {
                rulings.push(Ruling::Allows(format!("{name} is an administrator")));
                return Ok(requester);
            }
        }
        let rules = metadata.rules().await?;
        let (given, named) = self.given(&rules);
        rulings.extend(named);
        let missing: ActionSet =
            needed(self.action).iter().filter(|action| !given.contains(**action)).copied().collect();
        if !missing.is_empty() {
            rulings.push(Ruling::Refuses(format!("no access rule gives {missing} on {}", self.repository)));
        }
        Ok(requester)
    }

    fn given(&self, rules: &[RuleRecord]) -> (ActionSet, Vec<Ruling>) {
        let (mut given, mut rulings) = (ActionSet::NONE, Vec::new());
        for RuleRecord { id, rule } in rules {
            let actions = rule.actions_for(self.account.as_ref(), &self.repository);
            if !actions.is_empty() {
                let (subject, pattern) = (&rule.subject, &rule.pattern);
                rulings.push(Ruling::Allows(format!(
                    "access rule {id} gives {actions} on {pattern} to {subject}"
                )));
                given = given.union(actions);
            }
        }
        (given, rulings)
    }

    async fn tag_rules<M: Metadata>(
        &self,
        metadata: &M,
        rules: &TagRules,
        requester: &Requester,
        rulings: &mut Vec<Ruling>,
    ) -> Result<(), CoreError> {
        if self.action == Action::Pull {
            return Ok(());
        }
        let Some(tag) = &self.tag else {
            let concerning =
                rules.iter().filter(|sourced| sourced.rule.repositories.matches(&self.repository));
            rulings.extend(concerning.map(|rule| Ruling::Notes(rule.to_string())));
            return Ok(());
        };
        let reference = Reference::Tag(tag.clone());
        for sourced in rules.of(&self.repository, tag) {
            let now = match (self.action, sourced.is_immutable()) {
                (Action::Push, true) => metadata.manifest(&self.repository, &reference).await?,
                _ => None,
            };
            rulings.push(match now {
                Some(manifest) => Ruling::Notes(format!("{sourced}: {tag} stays on {}", manifest.digest)),
                None if sourced.lets(self.action, requester) => Ruling::Allows(sourced.to_string()),
                None => Ruling::Refuses(sourced.to_string()),
            });
        }
        Ok(())
    }
}

/// What a token must give for the action.
fn needed(action: Action) -> &'static [Action] {
    match action {
        Action::Pull => Pull::NEEDED,
        Action::Push => Push::NEEDED,
        Action::Delete => Delete::NEEDED,
    }
}

fn quota_ruling(quota: &QuotaRecord) -> Ruling {
    let (prefix, limit) = (&quota.prefix, ByteSize(quota.limit_bytes));
    let text = format!("quota {} of {limit} for {prefix}: {} bytes are used", quota.id, quota.used_bytes);
    if quota.used_bytes < quota.limit_bytes { Ruling::Notes(text) } else { Ruling::Refuses(text) }
}
