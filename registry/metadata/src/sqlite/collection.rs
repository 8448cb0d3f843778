//! Collection: batches of due entries, each judged as it stands now and acted on in the same transaction.

use registry_types::{Digest, RepositoryName};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use super::{
    BlobKey, Changes, blobs,
    columns::{DigestColumn, SizeColumn, TimeColumn},
    manifests,
    queue::{self, NO_REPOSITORY, QueueKind},
    removals,
    verdicts::{self, BlobState},
};
use crate::{Candidate, CollectPolicy, Collected, Decision, DryRun, KeepReason, MetadataError, Verdict};

type Done = Result<(), MetadataError>;

/// One batch.
struct Batch<'a> {
    connection: &'a Connection,
    policy: &'a CollectPolicy,
    now: OffsetDateTime,
    /// Entries that may still be looked at.
    left: usize,
    changes: &'a mut Changes,
    collected: Collected,
    /// `None`: nobody asks for reasons.
    decisions: Option<Vec<Decision>>,
}

/// Looks at due entries until none is left or `limit` were seen.
pub(super) fn collect(
    connection: &Connection,
    policy: &CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
    changes: &mut Changes,
) -> Result<Collected, MetadataError> {
    let mut batch = Batch::new(connection, policy, now, limit, changes);
    batch.run()?;
    Ok(batch.collected)
}

/// [`collect`] with its reasons, undone.
pub(super) fn dry_run(
    connection: &Connection,
    policy: &CollectPolicy,
    now: OffsetDateTime,
    limit: usize,
) -> Result<DryRun, MetadataError> {
    let mut nothing = Changes::default();
    let mut batch = Batch::new(connection, policy, now, limit, &mut nothing);
    batch.decisions = Some(Vec::new());
    connection.execute_batch("SAVEPOINT dry_run")?;
    let done = batch.run();
    connection.execute_batch("ROLLBACK TO dry_run; RELEASE dry_run")?;
    done?;
    Ok(DryRun {
        decisions: batch.decisions.unwrap_or_default(),
        bytes: batch.collected.bytes,
        more: batch.left == 0,
    })
}

impl<'a> Batch<'a> {
    fn new(
        connection: &'a Connection,
        policy: &'a CollectPolicy,
        now: OffsetDateTime,
        limit: usize,
        changes: &'a mut Changes,
    ) -> Self {
        let collected = Collected::default();
        Self { connection, policy, now, left: limit, changes, collected, decisions: None }
    }

    fn run(&mut self) -> Done {
        if self.policy.untagged_after.is_some() {
            queue::unpark(self.connection, self.now, self.left)?;
        }
        // What goes makes more due: links after their manifest, blobs after their last link, children after their
        // index. Each look takes an entry off the queue or puts it into the future, so this ends.
        loop {
            let before = self.left;
            self.orphans()?;
            for kind in [QueueKind::Manifest, QueueKind::Link, QueueKind::Blob] {
                for entry in queue::due(self.connection, kind, self.now, self.left)? {
                    self.examined();
                    match kind {
                        QueueKind::Manifest => self.manifest(entry)?,
                        QueueKind::Link => self.link(entry)?,
                        QueueKind::Blob => self.blob(entry.1)?,
                    }
                }
            }
            if self.left == 0 || self.left == before {
                break;
            }
        }
        self.count()
    }

    fn examined(&mut self) {
        self.left -= 1;
        self.collected.examined += 1;
    }

    /// Queues the referrers of deleted subjects.
    fn orphans(&mut self) -> Done {
        for subject in deleted_subjects(self.connection, self.left)? {
            if self.left == 0 {
                break;
            }
            if verdicts::has_manifest(self.connection, subject.repository, &subject.digest)? {
                subject.done(self.connection)?;
                continue;
            }
            let asked = self.left;
            let referrers = subject.referrers(self.connection, asked)?;
            for (_, manifest) in &referrers {
                self.examined();
                subject.orphan(self.connection, *manifest)?;
                let entry = (subject.repository, *manifest);
                queue::put(self.connection, QueueKind::Manifest, entry, TimeColumn(self.now))?;
            }
            match referrers.last() {
                Some((id, _)) if referrers.len() == asked => subject.go_on(self.connection, *id)?,
                _ => subject.done(self.connection)?,
            }
        }
        Ok(())
    }

    fn manifest(&mut self, entry: (i64, i64)) -> Done {
        let Some(state) = verdicts::manifest(self.connection, entry)? else {
            return queue::drop_entry(self.connection, QueueKind::Manifest, entry);
        };
        let verdict = verdicts::judge_manifest(self.connection, entry, &state, self.policy, self.now)?;
        let (repository, digest) = (state.repository, state.digest);
        let removed = self.settle(QueueKind::Manifest, entry, &verdict)?;
        if removed {
            let manifest = (entry.1, &digest);
            manifests::remove(self.connection, (entry.0, &repository), manifest, self.now, self.changes)?;
            self.collected.removed.manifests += 1;
            self.collected.manifests.push((repository.clone(), digest));
        }
        self.tell(|| Candidate::Manifest { repository, digest }, verdict);
        Ok(())
    }

    fn link(&mut self, entry: (i64, i64)) -> Done {
        let Some(state) = verdicts::link(self.connection, entry)? else {
            return queue::drop_entry(self.connection, QueueKind::Link, entry);
        };
        let verdict = verdicts::judge_link(self.connection, entry.0, &state, self.now)?;
        let (repository, digest): (RepositoryName, Digest) = (state.repository, state.digest);
        if self.settle(QueueKind::Link, entry, &verdict)? {
            blobs::remove_link(self.connection, entry.0, entry.1, self.now)?;
            self.changes.blobs.push(BlobKey { repository: repository.clone(), digest });
            self.collected.removed.links += 1;
        }
        self.tell(|| Candidate::Link { repository, digest }, verdict);
        Ok(())
    }

    fn blob(&mut self, id: i64) -> Done {
        let entry = (NO_REPOSITORY, id);
        let Some(state) = verdicts::blob(self.connection, id)? else {
            return queue::drop_entry(self.connection, QueueKind::Blob, entry);
        };
        let verdict = verdicts::judge_blob(self.connection, id, &state, self.now)?;
        let (digest, size) = (state.digest, state.size);
        if self.settle(QueueKind::Blob, entry, &verdict)? {
            self.remove_blob(id, state)?;
            self.collected.removed.blobs += 1;
            self.collected.bytes = self.collected.bytes.saturating_add(size);
        }
        self.tell(|| Candidate::Blob { digest, size }, verdict);
        Ok(())
    }

    /// The row goes, and in the same transaction its bytes get onto the list of removals.
    fn remove_blob(&self, id: i64, blob: BlobState) -> Done {
        self.connection.prepare_cached("DELETE FROM blobs WHERE id = ?1")?.execute([id])?;
        removals::put(self.connection, blob.digest, blob.location, blob.size, self.now)
    }

    /// Does to the queue what the verdict asks for; true when the item is to be removed.
    fn settle(&self, kind: QueueKind, entry: (i64, i64), verdict: &Verdict) -> Result<bool, MetadataError> {
        match verdict {
            Verdict::Keep(KeepReason::Leased { until } | KeepReason::UntaggedUntil { until }) => {
                queue::put(self.connection, kind, entry, TimeColumn(*until))?;
            }
            Verdict::Keep(KeepReason::UntaggedKept) => queue::park(self.connection, entry)?,
            // Whatever keeps it will queue it when it goes itself.
            Verdict::Keep(_) | Verdict::Remove(_) => queue::drop_entry(self.connection, kind, entry)?,
        }
        Ok(matches!(verdict, Verdict::Remove(_)))
    }

    fn tell(&mut self, candidate: impl FnOnce() -> Candidate, verdict: Verdict) {
        if let Some(decisions) = &mut self.decisions {
            decisions.push(Decision { candidate: candidate(), verdict });
        }
    }

    /// Adds to what was collected in all.
    fn count(&self) -> Done {
        let removed = self.collected.removed;
        for (name, number) in [
            ("collected_links", removed.links),
            ("collected_manifests", removed.manifests),
            ("collected_blobs", removed.blobs),
            ("collected_bytes", self.collected.bytes),
        ] {
            if number > 0 {
                self.connection
                    .prepare_cached("UPDATE counters SET value = value + ?2 WHERE name = ?1")?
                    .execute(params![name, SizeColumn(number)])?;
            }
        }
        Ok(())
    }
}

/// A deleted manifest whose referrers are looked at, those up to `after` being done.
struct DeletedSubject {
    repository: i64,
    digest: Digest,
    after: i64,
    deleted_at: TimeColumn,
}

fn deleted_subjects(connection: &Connection, limit: usize) -> Result<Vec<DeletedSubject>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT repository_id, digest, after_id, deleted_at FROM deleted_subjects LIMIT ?1",
    )?;
    let read = |row: &Row<'_>| {
        Ok(DeletedSubject {
            repository: row.get(0)?,
            digest: row.get::<_, DigestColumn>(1)?.0,
            after: row.get(2)?,
            deleted_at: row.get(3)?,
        })
    };
    let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) const REFERRERS_TO_ORPHAN: &str = "SELECT id, manifest_id FROM repository_manifests
     WHERE repository_id = ?1 AND subject = ?2 AND id > ?3 ORDER BY id LIMIT ?4";

impl DeletedSubject {
    /// Rows and manifests of the next referrers.
    fn referrers(&self, connection: &Connection, limit: usize) -> Result<Vec<(i64, i64)>, MetadataError> {
        let mut statement = connection.prepare_cached(REFERRERS_TO_ORPHAN)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![self.repository, DigestColumn(self.digest), self.after, limit];
        let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A referrer that was pushed since stands for itself.
    fn orphan(&self, connection: &Connection, manifest: i64) -> Done {
        connection
            .prepare_cached(
                "UPDATE repository_manifests SET orphaned_at = ?3
                 WHERE repository_id = ?1 AND manifest_id = ?2
                   AND (untagged_since IS NULL OR untagged_since <= ?3)",
            )?
            .execute(params![self.repository, manifest, self.deleted_at])?;
        Ok(())
    }

    fn go_on(&self, connection: &Connection, after: i64) -> Done {
        connection
            .prepare_cached(
                "UPDATE deleted_subjects SET after_id = ?3 WHERE repository_id = ?1 AND digest = ?2",
            )?
            .execute(params![self.repository, DigestColumn(self.digest), after])?;
        Ok(())
    }

    fn done(&self, connection: &Connection) -> Done {
        connection
            .prepare_cached("DELETE FROM deleted_subjects WHERE repository_id = ?1 AND digest = ?2")?
            .execute(params![self.repository, DigestColumn(self.digest)])?;
        Ok(())
    }
}
