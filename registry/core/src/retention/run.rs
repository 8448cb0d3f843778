//! Carrying policies out: page by page through the repositories under a prefix, in small batches with pauses, so
//! that pushes do not wait; and at the slots of the policies' schedules, on one of several replicas.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use registry_metadata::{Change, Metadata, PageRequest, TagRecord, TagRule};
use registry_types::{PathPrefix, RepositoryName};
use serde::Serialize;
use time::OffsetDateTime;

use super::{
    RetentionDecision, RetentionPolicies, RetentionPolicy, RetentionReason, RetentionRule, RetentionVerdict,
    StoredPolicy, decide::Deciding,
};
use crate::{CoreError, Events, PolicyOrigin, TagRules, events::Happening};

/// Tags or repositories of one page: some hundred kilobytes in memory.
const PAGE: usize = 1_000;
/// Tags removed between two pauses. Each is a transaction of its own, so a push waits for one at most.
const BATCH: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);
/// How often schedules are looked at; they have minutes.
const LOOK: Duration = Duration::from_secs(20);

/// Whether a run removes what it decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunMode {
    DryRun,
    Remove,
}

/// What a run did, or would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RetentionRun {
    pub repositories: u64,
    pub kept: u64,
    pub removed: u64,
}

/// When each policy was seen first: one that never ran waits for its first slot after that, not for one long past.
#[derive(Debug, Default)]
pub struct Timetable {
    seen: BTreeMap<i64, OffsetDateTime>,
}

/// Retention over a metadata store.
#[derive(Debug, Clone)]
pub struct Retention<M> {
    metadata: M,
    configured_tag_rules: Arc<[TagRule]>,
    events: Events,
}

impl<M: Metadata> Retention<M> {
    /// `configured_tag_rules`: those of the configuration, which hold beside the store's.
    pub fn new(metadata: M, configured_tag_rules: Arc<[TagRule]>) -> Self {
        Self { metadata, configured_tag_rules, events: Events::default() }
    }

    /// The same, and what it removes is told.
    #[must_use]
    pub fn with_events(self, events: Events) -> Self {
        Self { events, ..self }
    }

    /// All policies.
    pub async fn policies(&self) -> Result<RetentionPolicies, CoreError> {
        RetentionPolicies::read(self.metadata.retentions().await?)
    }

    /// Makes the store's policies of the configuration those of `configured`; operators' are left alone.
    pub async fn adopt(&self, configured: &[RetentionPolicy]) -> Result<(), CoreError> {
        let mut missing: Vec<&RetentionPolicy> = configured.iter().collect();
        for stored in self.policies().await?.as_slice() {
            if stored.policy.origin != PolicyOrigin::Configuration {
                continue;
            }
            match missing.iter().position(|policy| **policy == stored.policy) {
                Some(place) => drop(missing.swap_remove(place)),
                None => drop(self.metadata.delete_retention(stored.id).await?),
            }
        }
        for policy in missing {
            self.metadata.add_retention(&policy.to_stored()?).await?;
        }
        Ok(())
    }

    /// Runs policies at once: those with exactly the prefix `only`, or all. `told` gets every decision.
    pub async fn run(
        &self,
        only: Option<&PathPrefix>,
        mode: RunMode,
        mut told: impl FnMut(RetentionDecision),
    ) -> Result<RetentionRun, CoreError> {
        let policies = self.policies().await?;
        let mut prefixes: Vec<&PathPrefix> =
            policies.as_slice().iter().map(|stored| &stored.policy.prefix).collect();
        prefixes.sort();
        prefixes.dedup();
        let mut run = RetentionRun::default();
        for prefix in prefixes {
            if only.is_none_or(|only| only == prefix) {
                self.run_prefix(&policies, prefix, mode, &mut run, &mut told).await?;
            }
        }
        Ok(run)
    }

    /// Runs policies when they are due, for ever. A failing run is logged and waits for its next slot.
    pub async fn keep_running(&self) {
        let mut timetable = Timetable::default();
        let mut interval = tokio::time::interval(LOOK);
        loop {
            interval.tick().await;
            if let Err(error) = self.run_due(&mut timetable, OffsetDateTime::now_utc()).await {
                tracing::error!(%error, "a retention run failed");
            }
        }
    }

    /// Runs the policies that are due at `now` and that no other replica has begun to run. A failing run does not
    /// stop the others; its error is given after them.
    pub async fn run_due(&self, timetable: &mut Timetable, now: OffsetDateTime) -> Result<(), CoreError> {
        let policies = self.policies().await?;
        let seen = &mut timetable.seen;
        seen.retain(|id, _| policies.as_slice().iter().any(|stored| stored.id == *id));
        let mut ended = Ok(());
        for stored in policies.as_slice() {
            let first_seen = *seen.entry(stored.id).or_insert(now);
            if stored.policy.schedule.due(stored.started_at.unwrap_or(first_seen), now) {
                let run = self.run_policy(&policies, stored, now).await;
                ended = ended.and(run);
            }
        }
        ended
    }

    async fn run_policy(
        &self,
        policies: &RetentionPolicies,
        due: &StoredPolicy,
        now: OffsetDateTime,
    ) -> Result<(), CoreError> {
        if !self.metadata.start_retention(due.id, due.started_at, now).await? {
            return Ok(());
        }
        let mut run = RetentionRun::default();
        let told = |decision: RetentionDecision| {
            if decision.verdict.removes() {
                let RetentionDecision { repository, tag, digest, verdict, .. } = decision;
                let reason = verdict.reason();
                tracing::info!(%repository, %tag, %digest, %reason, "retention removed a tag");
            }
        };
        self.run_prefix(policies, &due.policy.prefix, RunMode::Remove, &mut run, told).await?;
        tracing::info!(policy = due.id, run.repositories, run.kept, run.removed, "a retention run ended");
        Ok(())
    }

    /// Decides on what the policies of `prefix` govern.
    async fn run_prefix(
        &self,
        policies: &RetentionPolicies,
        prefix: &PathPrefix,
        mode: RunMode,
        run: &mut RetentionRun,
        mut told: impl FnMut(RetentionDecision),
    ) -> Result<(), CoreError> {
        // The repository of the prefix itself stands apart from those below it in the order of names.
        if let Some(path) = prefix.path() {
            self.run_repository(policies, (prefix, path), mode, run, &mut told).await?;
        }
        let below = prefix.path().map(|path| format!("{path}/"));
        let mut after = below.clone();
        loop {
            let page = self.metadata.repositories(&PageRequest { after, limit: PAGE }).await?;
            for repository in &page.entries {
                if below.as_ref().is_some_and(|below| !repository.as_str().starts_with(below)) {
                    return Ok(());
                }
                self.run_repository(policies, (prefix, repository), mode, run, &mut told).await?;
            }
            after = page.entries.last().map(ToString::to_string);
            if !page.more || after.is_none() {
                return Ok(());
            }
        }
    }

    async fn run_repository(
        &self,
        policies: &RetentionPolicies,
        (prefix, repository): (&PathPrefix, &RepositoryName),
        mode: RunMode,
        run: &mut RetentionRun,
        told: &mut impl FnMut(RetentionDecision),
    ) -> Result<(), CoreError> {
        let governing = policies.governing(repository);
        if governing.first().is_none_or(|stored| stored.policy.prefix != *prefix) {
            return Ok(());
        }
        let rules: Vec<&RetentionRule> = governing.iter().map(|stored| &stored.policy.rule).collect();
        let tag_rules = TagRules::new(self.configured_tag_rules.clone(), self.metadata.tag_rules().await?);
        let held =
            |tag: &registry_types::Tag| tag_rules.of(repository, tag).next().map(|rule| rule.to_string());
        let mut deciding = Deciding::new(&rules, held);
        let mut after = None;
        let mut known = false;
        while let Some((tags, next)) = self.page(repository, after.take()).await? {
            known = true;
            for tag in &tags {
                deciding.note(tag);
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        // The path of a prefix need not be a repository.
        run.repositories += u64::from(known);
        let (now, mut in_batch) = (OffsetDateTime::now_utc(), 0);
        while let Some((tags, next)) = self.page(repository, after.take()).await? {
            for tag in tags {
                let mut verdict = deciding.verdict(&tag, now);
                if verdict.removes() && mode == RunMode::Remove {
                    if self.remove(repository, &tag).await? {
                        in_batch += 1;
                    } else {
                        verdict = RetentionVerdict::Keep(RetentionReason::Changed);
                    }
                    if in_batch == BATCH {
                        tokio::time::sleep(PAUSE).await;
                        in_batch = 0;
                    }
                }
                let counted = if verdict.removes() { &mut run.removed } else { &mut run.kept };
                *counted += 1;
                let TagRecord { tag, digest, pushed_at, pulled_at, .. } = tag;
                told(RetentionDecision {
                    repository: repository.clone(),
                    tag,
                    digest,
                    pushed_at,
                    pulled_at,
                    verdict,
                });
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// A page of tags, and behind which tag the next one begins if there is one.
    async fn page(
        &self,
        repository: &RepositoryName,
        after: Option<String>,
    ) -> Result<Option<(Vec<TagRecord>, Option<String>)>, CoreError> {
        let page = self.metadata.tag_records(repository, &PageRequest { after, limit: PAGE }).await?;
        Ok(page.map(|page| {
            let next = page.entries.last().filter(|_| page.more).map(|last| last.tag.to_string());
            (page.entries, next)
        }))
    }

    /// Removes the tag if nobody pushed it since it was listed.
    async fn remove(&self, repository: &RepositoryName, tag: &TagRecord) -> Result<bool, CoreError> {
        let mut change = Change::now();
        let deleted = Happening::deleted(repository, None, Some(&tag.tag));
        change.events.extend(self.events.of_registry(&deleted, change.now));
        Ok(self.metadata.delete_tag_unchanged(repository, tag, change).await?)
    }
}
