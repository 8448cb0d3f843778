//! Repositories, and listings by name. A repository comes with the first blob or manifest linked to it, and no row
//! of one is ever removed, so an id that was read stays true.
//!
//! The row of a repository is also the lock of what stands in it. Whoever changes its manifests, tags or links in a
//! way that rests on what is there takes [`lock`] first, before any other lock, so that such changes of one
//! repository come one after another and those of two repositories never wait for each other in a circle. Adding
//! a link to a blob rests on nothing and takes no such lock.

use registry_types::{RepositoryName, Tag};
use tokio_postgres::Row;

use super::{
    columns::{DigestColumn, SizeColumn, TextColumn, TimeColumn, limit},
    connection::Connection,
    error::Failure,
    quotas,
};
use crate::{Page, PageRequest, TagRecord};

/// Pages read an index from the name behind which they begin: what they cost does not grow with the list.
pub(super) const REPOSITORY_PAGE: &str =
    "SELECT name FROM repositories WHERE name > $1 ORDER BY name LIMIT $2";
/// One row without a tag when the repository is known and the page empty.
pub(super) const TAG_PAGE: &str = "SELECT page.name FROM repositories LEFT JOIN LATERAL
         (SELECT name FROM tags WHERE repository_id = repositories.id AND name > $2 ORDER BY name LIMIT $3) page
         ON TRUE
     WHERE repositories.name = $1 ORDER BY page.name";
pub(super) const TAG_RECORD_PAGE: &str =
    "SELECT page.name, manifests.digest, manifests.media_type, manifests.image_size, page.updated_at,
            repository_manifests.pulled_at
     FROM repositories LEFT JOIN LATERAL
         (SELECT name, manifest_id, updated_at FROM tags
          WHERE repository_id = repositories.id AND name > $2 ORDER BY name LIMIT $3) page ON TRUE
     LEFT JOIN manifests ON manifests.id = page.manifest_id
     LEFT JOIN repository_manifests ON repository_manifests.repository_id = repositories.id
          AND repository_manifests.manifest_id = page.manifest_id
     WHERE repositories.name = $1 ORDER BY page.name";

/// The id of a repository that exists, with its row locked until the transaction ends.
pub(super) async fn lock(
    connection: &Connection,
    repository: &RepositoryName,
) -> Result<Option<i64>, Failure> {
    // NO KEY: rows that name the repository may be added meanwhile by those who take no lock.
    let row = connection
        .row("SELECT id FROM repositories WHERE name = $1 FOR NO KEY UPDATE", &[&repository.as_str()])
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Locks the row without waiting. False: another has it.
pub(super) async fn try_lock(connection: &Connection, repository: i64) -> Result<bool, Failure> {
    let row = connection
        .row("SELECT 1 FROM repositories WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED", &[&repository])
        .await?;
    Ok(row.is_some())
}

/// [`lock`], and the repository is made if it is new.
pub(super) async fn lock_or_create(
    connection: &Connection,
    repository: &RepositoryName,
    now: TimeColumn,
) -> Result<i64, Failure> {
    if let Some(id) = lock(connection, repository).await? {
        return Ok(id);
    }
    create(connection, repository, now).await?;
    // Made by us or by another, it is there now.
    let row = connection
        .one("SELECT id FROM repositories WHERE name = $1 FOR NO KEY UPDATE", &[&repository.as_str()])
        .await?;
    Ok(row.try_get(0)?)
}

/// The id without a lock, of a repository made if it is new.
pub(super) async fn find_or_create(
    connection: &Connection,
    repository: &RepositoryName,
    now: TimeColumn,
) -> Result<i64, Failure> {
    const FIND: &str = "SELECT id FROM repositories WHERE name = $1";
    if let Some(row) = connection.row(FIND, &[&repository.as_str()]).await? {
        return Ok(row.try_get(0)?);
    }
    create(connection, repository, now).await?;
    Ok(connection.one(FIND, &[&repository.as_str()]).await?.try_get(0)?)
}

/// Two who make the same repository at once: the later waits for the earlier and then does nothing.
async fn create(
    connection: &Connection,
    repository: &RepositoryName,
    now: TimeColumn,
) -> Result<(), Failure> {
    let made = connection
        .row(
            "INSERT INTO repositories (name, created_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING
             RETURNING id",
            &[&repository.as_str(), &now],
        )
        .await?;
    if let Some(row) = made {
        quotas::cover(connection, row.try_get(0)?, repository).await?;
    }
    Ok(())
}

pub(super) async fn list(
    connection: &Connection,
    page: &PageRequest,
) -> Result<Page<RepositoryName>, Failure> {
    let rows = connection.rows(REPOSITORY_PAGE, &[&after(page), &fetched(page)]).await?;
    collect(rows, page, |row| Ok(Some(row.try_get::<_, TextColumn<_>>(0)?.0)))
}

pub(super) async fn tags(
    connection: &Connection,
    repository: &RepositoryName,
    page: &PageRequest,
) -> Result<Option<Page<Tag>>, Failure> {
    let rows = connection.rows(TAG_PAGE, &[&repository.as_str(), &after(page), &fetched(page)]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    collect(rows, page, |row| Ok(row.try_get::<_, Option<TextColumn<_>>>(0)?.map(|column| column.0)))
        .map(Some)
}

pub(super) async fn tag_records(
    connection: &Connection,
    repository: &RepositoryName,
    page: &PageRequest,
) -> Result<Option<Page<TagRecord>>, Failure> {
    let rows =
        connection.rows(TAG_RECORD_PAGE, &[&repository.as_str(), &after(page), &fetched(page)]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    collect(rows, page, read_tag_record).map(Some)
}

fn read_tag_record(row: &Row) -> Result<Option<TagRecord>, Failure> {
    let Some(TextColumn(tag)) = row.try_get(0)? else { return Ok(None) };
    Ok(Some(TagRecord {
        tag,
        digest: row.try_get::<_, DigestColumn>(1)?.0,
        media_type: row.try_get::<_, TextColumn<_>>(2)?.0,
        size: row.try_get::<_, SizeColumn>(3)?.0,
        pushed_at: row.try_get::<_, TimeColumn>(4)?.0,
        pulled_at: row.try_get::<_, Option<TimeColumn>>(5)?.map(|column| column.0),
    }))
}

/// No name is empty, so every name is greater than the empty one.
fn after(page: &PageRequest) -> &str {
    page.after.as_deref().unwrap_or_default()
}

/// One more than asked for, which tells whether more follow.
fn fetched(page: &PageRequest) -> i64 {
    limit(page.limit).saturating_add(1)
}

fn collect<T>(
    rows: Vec<Row>,
    page: &PageRequest,
    read: impl Fn(&Row) -> Result<Option<T>, Failure>,
) -> Result<Page<T>, Failure> {
    let more = rows.len() > page.limit;
    let rows = rows.iter().take(page.limit);
    let entries = rows.filter_map(|row| read(row).transpose()).collect::<Result<_, _>>()?;
    Ok(Page { entries, more })
}
