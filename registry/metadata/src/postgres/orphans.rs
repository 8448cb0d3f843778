//! Deleted manifests whose referrers are to be looked at: a few in each step, however many there are.

use registry_types::Digest;
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{DigestColumn, TimeColumn, limit},
    connection::Connection,
    error::Failure,
    queue::{self, QueueKind},
    verdicts,
};

/// A deleted manifest, and how far its referrers were looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeletedSubject {
    pub(super) repository: i64,
    digest: Digest,
    after: i64,
    deleted_at: TimeColumn,
}

pub(super) async fn deleted_subjects(
    connection: &Connection,
    at_most: usize,
) -> Result<Vec<DeletedSubject>, Failure> {
    let rows = connection
        .rows(
            "SELECT repository_id, digest, after_id, deleted_at FROM deleted_subjects LIMIT $1",
            &[&limit(at_most)],
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<DeletedSubject, Failure> {
    Ok(DeletedSubject {
        repository: row.try_get(0)?,
        digest: row.try_get::<_, DigestColumn>(1)?.0,
        after: row.try_get(2)?,
        deleted_at: row.try_get(3)?,
    })
}

/// Queues at most `at_most` referrers and gives how many. The repository's lock is held.
pub(super) async fn step(
    connection: &Connection,
    subject: &DeletedSubject,
    now: OffsetDateTime,
    at_most: usize,
) -> Result<usize, Failure> {
    let (repository, digest) = (subject.repository, DigestColumn(subject.digest));
    // As it stands now: another may have come further since it was listed.
    let current = connection
        .row(
            "SELECT repository_id, digest, after_id, deleted_at FROM deleted_subjects
             WHERE repository_id = $1 AND digest = $2",
            &[&repository, &digest],
        )
        .await?;
    let Some(current) = current.as_ref().map(read).transpose()? else { return Ok(0) };
    if verdicts::has_manifest(connection, repository, &current.digest).await? {
        done(connection, &current).await?;
        return Ok(0);
    }
    let referrers = connection
        .rows(
            "SELECT id, manifest_id FROM repository_manifests
             WHERE repository_id = $1 AND subject = $2 AND id > $3 ORDER BY id LIMIT $4",
            &[&repository, &digest, &current.after, &limit(at_most)],
        )
        .await?;
    for row in &referrers {
        let manifest: i64 = row.try_get(1)?;
        // A referrer that was pushed since stands for itself.
        connection
            .execute(
                "UPDATE repository_manifests SET orphaned_at = $3
                 WHERE repository_id = $1 AND manifest_id = $2
                   AND (untagged_since IS NULL OR untagged_since <= $3)",
                &[&repository, &manifest, &current.deleted_at],
            )
            .await?;
        queue::put(connection, QueueKind::Manifest, (repository, manifest), now).await?;
    }
    match referrers.last() {
        Some(last) if referrers.len() == at_most => {
            let after: i64 = last.try_get(0)?;
            connection
                .execute(
                    "UPDATE deleted_subjects SET after_id = $3 WHERE repository_id = $1 AND digest = $2",
                    &[&repository, &digest, &after],
                )
                .await?;
        }
        _ => done(connection, &current).await?,
    }
    Ok(referrers.len())
}

async fn done(connection: &Connection, subject: &DeletedSubject) -> Result<(), Failure> {
    connection
        .execute(
            "DELETE FROM deleted_subjects WHERE repository_id = $1 AND digest = $2",
            &[&subject.repository, &DigestColumn(subject.digest)],
        )
        .await?;
    Ok(())
}
