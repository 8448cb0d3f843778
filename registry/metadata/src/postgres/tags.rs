//! Tags as retention and tag rules ask for them: those of one manifest, and the removal of one that nobody pushed
//! since it was listed.

use registry_types::{Digest, RepositoryName, Tag};
use time::OffsetDateTime;

use super::{
    columns::{DigestColumn, TextColumn, TimeColumn},
    connection::Connection,
    error::Failure,
    manifests, repositories,
};
use crate::TagRecord;

/// [`manifests::delete_tag`] if the tag stands as it was listed. The repository's lock is held until the end of the
/// transaction, so nobody pushes it in between.
pub(super) async fn delete_unchanged(
    connection: &Connection,
    repository: &RepositoryName,
    listed: &TagRecord,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let Some(id) = repositories::lock(connection, repository).await? else { return Ok(false) };
    let unchanged = connection
        .row(
            "SELECT 1 FROM tags
             WHERE repository_id = $1 AND name = $2 AND updated_at = $4
               AND manifest_id IN (SELECT id FROM manifests WHERE digest = $3)",
            &[&id, &listed.tag.as_str(), &DigestColumn(listed.digest), &TimeColumn(listed.pushed_at)],
        )
        .await?;
    match unchanged {
        Some(_) => manifests::delete_tag(connection, repository, &listed.tag, now).await,
        None => Ok(false),
    }
}

/// The tags that name a manifest of a repository.
pub(super) async fn of_manifest(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Vec<Tag>, Failure> {
    let rows = connection
        .rows(
            "SELECT tags.name FROM tags
             WHERE repository_id = (SELECT id FROM repositories WHERE name = $1)
               AND manifest_id IN (SELECT id FROM manifests WHERE digest = $2)",
            &[&repository.as_str(), &DigestColumn(*digest)],
        )
        .await?;
    let mut tags = Vec::with_capacity(rows.len());
    for row in rows {
        tags.push(row.try_get::<_, TextColumn<Tag>>(0)?.0);
    }
    // In the order of bytes, whatever the database's collation is.
    tags.sort();
    Ok(tags)
}
