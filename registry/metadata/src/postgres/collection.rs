//! Collection: due entries, each judged as it stands now and acted on in the same transaction.
//!
//! The work is cut into steps, each a short transaction about one repository. A step waits for no push: what a
//! push holds, the repository's lock or a row, is passed over and comes up again. A push that comes during a step
//! waits for at most [`STEP`] entries. Several replicas collect at once, each passing over what another holds.

use registry_types::{Digest, RepositoryName};
use time::OffsetDateTime;

use super::{
    attempts::Attempts,
    blobs,
    columns::SizeColumn,
    connection::Connection,
    error::Failure,
    manifests,
    orphans::{self, DeletedSubject},
    queue::{self, NO_REPOSITORY, QueueKind},
    removals, repositories,
    verdicts::{self, BlobState, Look},
};
use crate::{
    Candidate, CollectPolicy, Collected, Decision, DryRun, KeepReason, KindCounts, MetadataError, Verdict,
};

/// Most entries in one step: some twenty milliseconds for a push that has to wait.
const STEP: usize = 16;

/// What a step is about.
#[derive(Debug)]
enum Step {
    Orphans(DeletedSubject),
    /// Entries of one kind and repository.
    Entries(QueueKind, i64, Vec<i64>),
}

/// The kinds of work in their order: what goes in one makes work for the next.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Orphans,
    Entries(QueueKind),
}

const PHASES: [Phase; 4] = [
    Phase::Orphans,
    Phase::Entries(QueueKind::Manifest),
    Phase::Entries(QueueKind::Link),
    Phase::Entries(QueueKind::Blob),
];

/// What a step did.
#[derive(Debug, Default)]
struct Outcome {
    collected: Collected,
    decisions: Vec<Decision>,
}

/// Looks at due entries until none is left or `limit` were seen.
pub(super) async fn collect(
    attempts: &Attempts,
    policy: &CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
) -> Result<Collected, MetadataError> {
    if policy.untagged_after.is_some() {
        attempts.repeat(|at| async move { queue::unpark(&at, now, limit).await }).await?;
    }
    let (mut left, mut collected) = (limit, Collected::default());
    // What goes makes more due: links after their manifest, blobs after their last link, children after their
    // index. Each look takes an entry off the queue or puts it into the future, so this ends.
    loop {
        let before = left;
        for phase in PHASES {
            for step in &attempts.repeat(|at| async move { steps(&at, phase, now, left).await }).await? {
                let work = |at: std::sync::Arc<Connection>| async move {
                    let outcome = perform(&at, step, policy, now, left).await?;
                    count(&at, &outcome.collected).await?;
                    Ok(outcome.collected)
                };
                match attempts.write(work).await {
                    Ok(done) => {
                        left = left.saturating_sub(done.examined as usize);
                        add(&mut collected, done);
                    }
                    // What was done is to be told all the same; the next call meets the error again.
                    Err(_) if collected.examined > 0 => return Ok(collected),
                    Err(error) => return Err(error),
                }
            }
        }
        if left == 0 || left == before {
            return Ok(collected);
        }
    }
}

/// [`collect`] with its reasons, in one transaction that the caller undoes. Until then pushes to the repositories
/// that were looked at wait.
pub(super) async fn dry_run(
    connection: &Connection,
    policy: &CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
) -> Result<DryRun, Failure> {
    if policy.untagged_after.is_some() {
        queue::unpark(connection, now, limit).await?;
    }
    let (mut left, mut run) = (limit, DryRun::default());
    loop {
        let before = left;
        for phase in PHASES {
            for step in steps(connection, phase, now, left).await? {
                let outcome = perform(connection, &step, policy, now, left).await?;
                left = left.saturating_sub(outcome.collected.examined as usize);
                run.bytes = run.bytes.saturating_add(outcome.collected.bytes);
                run.decisions.extend(outcome.decisions);
            }
        }
        if left == 0 || left == before {
            run.more = left == 0;
            return Ok(run);
        }
    }
}

/// Steps for at most `left` entries that are due.
async fn steps(
    connection: &Connection,
    phase: Phase,
    now: OffsetDateTime,
    left: usize,
) -> Result<Vec<Step>, Failure> {
    let kind = match phase {
        Phase::Orphans => {
            let subjects = orphans::deleted_subjects(connection, left).await?;
            return Ok(subjects.into_iter().map(Step::Orphans).collect());
        }
        Phase::Entries(kind) => kind,
    };
    let mut entries = queue::due(connection, kind, now, left).await?;
    entries.sort_unstable();
    let repositories = entries.chunk_by(|(one, _), (next, _)| one == next);
    let steps = repositories.flat_map(|entries| entries.chunks(STEP)).filter_map(|entries| {
        let (repository, _) = entries.first()?;
        Some(Step::Entries(kind, *repository, entries.iter().map(|(_, item)| *item).collect()))
    });
    Ok(steps.collect())
}

async fn perform(
    connection: &Connection,
    step: &Step,
    policy: &CollectPolicy,
    now: OffsetDateTime,
    left: usize,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::default();
    match step {
        Step::Orphans(subject) => {
            if left > 0 && repositories::try_lock(connection, subject.repository).await? {
                let queued = orphans::step(connection, subject, now, left.min(STEP)).await?;
                outcome.collected.examined = queued as u64;
            }
        }
        Step::Entries(kind, repository, items) => {
            if *kind != QueueKind::Blob && !repositories::try_lock(connection, *repository).await? {
                return Ok(outcome);
            }
            for item in items.iter().take(left) {
                let mut batch = Judge { connection, policy, now, outcome: &mut outcome };
                let entry = (*repository, *item);
                match kind {
                    QueueKind::Manifest => batch.manifest(entry).await?,
                    QueueKind::Link => batch.link(entry).await?,
                    QueueKind::Blob => batch.blob(*item).await?,
                }
            }
        }
    }
    Ok(outcome)
}

/// A look at one entry.
struct Judge<'a> {
    connection: &'a Connection,
    policy: &'a CollectPolicy,
    now: OffsetDateTime,
    outcome: &'a mut Outcome,
}

impl Judge<'_> {
    async fn manifest(&mut self, entry: (i64, i64)) -> Result<(), Failure> {
        let look = verdicts::lock_manifest(self.connection, entry).await?;
        let Some(state) = self.take(QueueKind::Manifest, entry, look).await? else { return Ok(()) };
        let verdict = verdicts::judge_manifest(self.connection, entry, &state, self.policy, self.now).await?;
        let (repository, digest) = (state.repository, state.digest);
        if self.settle(QueueKind::Manifest, entry, &verdict).await? {
            manifests::remove(self.connection, entry.0, (entry.1, &digest), self.now).await?;
            let collected = &mut self.outcome.collected;
            collected.removed.manifests += 1;
            collected.manifests.push((repository.clone(), digest));
        }
        self.tell(Candidate::Manifest { repository, digest }, verdict);
        Ok(())
    }

    async fn link(&mut self, entry: (i64, i64)) -> Result<(), Failure> {
        let look = verdicts::lock_link(self.connection, entry).await?;
        let Some(state) = self.take(QueueKind::Link, entry, look).await? else { return Ok(()) };
        let verdict = verdicts::judge_link(self.connection, entry.0, &state, self.now).await?;
        if self.settle(QueueKind::Link, entry, &verdict).await? {
            blobs::remove_link(self.connection, entry.0, &state.blob, self.now).await?;
            self.outcome.collected.removed.links += 1;
        }
        let (repository, digest): (RepositoryName, Digest) = (state.repository, state.digest);
        self.tell(Candidate::Link { repository, digest }, verdict);
        Ok(())
    }

    async fn blob(&mut self, id: i64) -> Result<(), Failure> {
        let entry = (NO_REPOSITORY, id);
        let look = verdicts::lock_blob(self.connection, id).await?;
        let Some(state) = self.take(QueueKind::Blob, entry, look).await? else { return Ok(()) };
        let verdict = verdicts::judge_blob(self.connection, &state.blob, self.now).await?;
        let (digest, size) = (state.digest, state.blob.size);
        if self.settle(QueueKind::Blob, entry, &verdict).await? {
            self.remove_blob(state).await?;
            let collected = &mut self.outcome.collected;
            collected.removed.blobs += 1;
            collected.bytes = collected.bytes.saturating_add(size);
        }
        self.tell(Candidate::Blob { digest, size }, verdict);
        Ok(())
    }

    /// The item, if it and its entry are ours to decide on.
    async fn take<T>(
        &mut self,
        kind: QueueKind,
        entry: (i64, i64),
        look: Look<T>,
    ) -> Result<Option<T>, Failure> {
        if matches!(look, Look::Busy) || !queue::lock(self.connection, kind, entry, self.now).await? {
            return Ok(None);
        }
        self.outcome.collected.examined += 1;
        match look {
            Look::Found(state) => Ok(Some(state)),
            Look::Busy | Look::Gone => {
                queue::drop_entry(self.connection, kind, entry).await?;
                Ok(None)
            }
        }
    }

    /// The row goes, and in the same transaction its bytes get onto the list of removals.
    async fn remove_blob(&self, blob: BlobState) -> Result<(), Failure> {
        self.connection.execute("DELETE FROM blobs WHERE id = $1", &[&blob.blob.id]).await?;
        removals::put(self.connection, blob.digest, blob.location, blob.blob.size, self.now).await?;
        Ok(())
    }

    /// Does to the queue what the verdict asks for; true when the item is to be removed.
    async fn settle(&self, kind: QueueKind, entry: (i64, i64), verdict: &Verdict) -> Result<bool, Failure> {
        match verdict {
            Verdict::Keep(KeepReason::Leased { until } | KeepReason::UntaggedUntil { until }) => {
                queue::put(self.connection, kind, entry, *until).await?;
            }
            Verdict::Keep(KeepReason::UntaggedKept) => queue::park(self.connection, entry).await?,
            // Whatever keeps it will queue it when it goes itself.
            Verdict::Keep(_) | Verdict::Remove(_) => queue::drop_entry(self.connection, kind, entry).await?,
        }
        Ok(matches!(verdict, Verdict::Remove(_)))
    }

    fn tell(&mut self, candidate: Candidate, verdict: Verdict) {
        self.outcome.decisions.push(Decision { candidate, verdict });
    }
}

fn add(sum: &mut Collected, done: Collected) {
    let KindCounts { links, manifests, blobs } = done.removed;
    sum.examined += done.examined;
    sum.removed.links += links;
    sum.removed.manifests += manifests;
    sum.removed.blobs += blobs;
    sum.bytes = sum.bytes.saturating_add(done.bytes);
    sum.manifests.extend(done.manifests);
}

/// Adds to what was collected in all.
async fn count(connection: &Connection, collected: &Collected) -> Result<(), Failure> {
    let removed = collected.removed;
    for (name, number) in [
        ("collected_links", removed.links),
        ("collected_manifests", removed.manifests),
        ("collected_blobs", removed.blobs),
        ("collected_bytes", collected.bytes),
    ] {
        if number > 0 {
            connection.row("SELECT add_to_counter($1, $2)", &[&name, &SizeColumn(number)]).await?;
        }
    }
    Ok(())
}
