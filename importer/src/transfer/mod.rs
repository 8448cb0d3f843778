//! One node's part of an import: send what it lacks, verify what came of it, pin it. A node that lost
//! content meanwhile is asked again and sent everything it lacks once more; a node that fails for good is
//! left without names that promise content it does not have.

mod archive;
mod plan;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    ImageSource, ImportError, NodeReport, NodeState, Progress, ProgressEvent,
    image::Image,
    node::{NAMESPACE, Node, NodeFacts, Outcome, Record, Verdict},
};
use archive::ArchiveWriter;
use plan::{Plan, Wanted};

/// Pause between two looks at records that the node's CRI has not taken notice of.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Least growth of the stream between two progress events.
const PROGRESS_STEP: u64 = 1 << 20;

/// Everything that a node's task needs.
pub(crate) struct Transfer {
    pub(crate) node: Node,
    pub(crate) images: Vec<Arc<Image>>,
    pub(crate) source: Arc<dyn ImageSource>,
    pub(crate) progress: Arc<dyn Progress>,
    pub(crate) dry_run: bool,
    pub(crate) pin: bool,
    pub(crate) unpin_previous: bool,
}

impl Transfer {
    /// Brings the images to the node and fills in its report.
    pub(crate) async fn run(&self, facts: NodeFacts, report: &mut NodeReport) -> Result<(), ImportError> {
        let plan = Plan::new(&self.images, &facts.inventory);
        report.images.clone_from(&plan.images);
        report.layers_sent = plan.layers_sent;
        report.layers_skipped = plan.layers_skipped;
        self.progress.report(ProgressEvent::Planned {
            node: self.node.name.clone(),
            layers: plan.layers_sent,
            bytes: plan.blob_bytes(),
        });
        if self.dry_run {
            report.state = NodeState::Planned;
            report.bytes_sent = plan.blob_bytes();
            return Ok(());
        }
        let sent = AtomicU64::new(0);
        let result = self.attempts(&facts, &plan, &sent, report).await;
        report.bytes_sent = sent.into_inner();
        if let Err(error) = result {
            if let Err(second) = self.clean_up(&facts).await {
                tracing::debug!(node = self.node.name, %second, "the node could not be cleaned up");
            }
            return Err(error);
        }
        report.state = if report.bytes_sent > 0 { NodeState::Imported } else { NodeState::UpToDate };
        Ok(())
    }

    async fn attempts(
        &self,
        facts: &NodeFacts,
        plan: &Plan,
        sent: &AtomicU64,
        report: &mut NodeReport,
    ) -> Result<(), ImportError> {
        let outcome = match self.attempt(facts, plan, sent).await {
            Err(ImportError::MissingContent { reason }) => {
                self.progress.report(ProgressEvent::Resending { node: self.node.name.clone(), reason });
                let facts = self.node.probe().await?;
                let plan = Plan::again(&self.images, &facts.inventory);
                report.resent = true;
                report.layers_sent += plan.layers_sent;
                report.layers_skipped = report.layers_skipped.saturating_sub(plan.layers_sent);
                self.attempt(&facts, &plan, sent).await?
            }
            other => other?,
        };
        self.unpin_previous(facts, &outcome).await
    }

    async fn attempt(
        &self,
        facts: &NodeFacts,
        plan: &Plan,
        sent: &AtomicU64,
    ) -> Result<Outcome, ImportError> {
        let names = self.names();
        let unpinned = if plan.is_empty() {
            unpinned(&names, &facts.inventory.records)
        } else {
            self.send(facts, plan, sent).await?;
            names
        };
        self.progress.report(ProgressEvent::Verifying { node: self.node.name.clone() });
        self.verify(facts, unpinned).await
    }

    /// Every name that the images must have.
    fn names(&self) -> Vec<String> {
        Plan::wanted(&self.images).into_keys().collect()
    }

    /// Streams the plan into `ctr images import -` in the node.
    async fn send(&self, facts: &NodeFacts, plan: &Plan, sent: &AtomicU64) -> Result<(), ImportError> {
        let mut command: Vec<&str> = vec!["ctr", "-a", &facts.address, "-n", NAMESPACE, "images", "import"];
        if facts.local_import {
            command.push("--local");
        }
        if let Some(snapshotter) = &facts.snapshotter {
            command.extend(["--snapshotter", snapshotter]);
        }
        command.push("-");
        let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
        let session = self.node.docker.start(&self.node.id, &command, true).await?;
        let reported = AtomicU64::new(0);
        let progress = |bytes: u64| {
            if bytes >= reported.load(Ordering::Relaxed) + PROGRESS_STEP {
                reported.store(bytes, Ordering::Relaxed);
                self.progress.report(ProgressEvent::Sent { node: self.node.name.clone(), bytes });
            }
        };
        let feed = async |sink: &mut _| {
            let writer = ArchiveWriter {
                sink,
                source: &*self.source,
                stall: self.node.limits.stall,
                sent,
                progress: &progress,
            };
            writer.write(plan).await
        };
        let output = session.feed(&self.node.docker, feed, self.node.limits.unpack).await?;
        output.succeeded("ctr images import")
    }

    /// Pins the names and looks at the outcome until every name is good, or gives up.
    async fn verify(&self, facts: &NodeFacts, mut loose: Vec<String>) -> Result<Outcome, ImportError> {
        let wanted = Plan::wanted(&self.images);
        let names = self.names();
        let deadline = Instant::now() + self.node.limits.appear;
        loop {
            if !self.pin {
                loose.clear();
            }
            let outcome = self.node.outcome(facts, &names, &loose).await?;
            loose = unpinned(&names, &outcome.records);
            let pending = unfinished(&outcome, &wanted)?.or_else(|| {
                let name = loose.first().filter(|_| self.pin)?.clone();
                Some((name, "its pin against garbage collection does not last".to_owned()))
            });
            let Some((name, reason)) = pending else { return Ok(outcome) };
            if Instant::now() >= deadline {
                return Err(ImportError::Unverified { name, reason });
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Lets go of earlier images of the same repositories, if asked to.
    async fn unpin_previous(&self, facts: &NodeFacts, outcome: &Outcome) -> Result<(), ImportError> {
        if !self.unpin_previous {
            return Ok(());
        }
        let wanted = Plan::wanted(&self.images);
        let repositories: Vec<String> = self.images.iter().map(|image| image.reference.name()).collect();
        let previous: Vec<String> = outcome
            .records
            .iter()
            .filter(|(name, record)| record.pinned && is_previous(name, &repositories, &wanted))
            .filter(|(_, record)| wanted.values().all(|wanted| wanted.target != record.digest))
            .map(|(name, _)| name.clone())
            .collect();
        self.node.unpin(facts, &previous).await
    }

    /// Undoes names that this import made and whose content is not whole: they go back to what they pointed
    /// at before, or away. containerd 1.x leaves such names behind, and pods would start from them and fail.
    async fn clean_up(&self, before: &NodeFacts) -> Result<(), ImportError> {
        let wanted = Plan::wanted(&self.images);
        let outcome = self.node.outcome(before, &self.names(), &[]).await?;
        let mut mends = BTreeMap::new();
        for (name, Wanted { target, config }) in &wanted {
            let verdict = outcome.judge(name, target, config);
            if !matches!(verdict, Verdict::Incomplete(_)) || before.inventory.points_at(name, target) {
                continue;
            }
            let earlier = before.inventory.records.get(name).and_then(|earlier| {
                outcome
                    .records
                    .iter()
                    .find(|(other, record)| *other != name && record.digest == earlier.digest)
                    .map(|(other, _)| other.clone())
            });
            mends.insert(name.clone(), earlier);
            // The name by which CRI lists the image.
            let config = config.to_string();
            if !before.inventory.records.contains_key(&config) && outcome.records.contains_key(&config) {
                mends.insert(config, None);
            }
        }
        let mends: Vec<(Option<String>, String)> =
            mends.into_iter().map(|(name, earlier)| (earlier, name)).collect();
        self.node.mend(before, &mends).await
    }
}

/// Those of `names` whose records are not pinned.
fn unpinned(names: &[String], records: &BTreeMap<String, Record>) -> Vec<String> {
    let pinned = |name: &String| records.get(name).is_some_and(|record| record.pinned);
    names.iter().filter(|name| !pinned(name)).cloned().collect()
}

/// The first name that is not good yet, with the reason; an error if content is missing.
fn unfinished(
    outcome: &Outcome,
    wanted: &BTreeMap<String, Wanted>,
) -> Result<Option<(String, String)>, ImportError> {
    let mut first = None;
    for (name, Wanted { target, config }) in wanted {
        match outcome.judge(name, target, config) {
            Verdict::Good => {}
            Verdict::Incomplete(reason) => {
                return Err(ImportError::MissingContent { reason: format!("{name}: {reason}") });
            }
            Verdict::Unfinished(reason) => first = first.or(Some((name.clone(), reason))),
        }
    }
    Ok(first)
}

/// Whether `name` is of one of `repositories` and not one of this import's.
fn is_previous(name: &str, repositories: &[String], wanted: &BTreeMap<String, Wanted>) -> bool {
    !wanted.contains_key(name)
        && repositories.iter().any(|repository| {
            name.strip_prefix(repository.as_str()).is_some_and(|rest| rest.starts_with([':', '@']))
        })
}
