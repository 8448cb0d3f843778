//! Repositories, and listings by name. A repository comes with the first blob or manifest linked to it.

use registry_types::{RepositoryName, Tag};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    columns::{DigestColumn, SizeColumn, TextColumn, TimeColumn},
    quotas,
};
use crate::{MetadataError, Page, PageRequest, TagRecord};

/// Pages read an index from the name behind which they begin: what they cost does not grow with the list.
pub(super) const REPOSITORY_PAGE: &str =
    "SELECT name FROM repositories WHERE name > ?1 ORDER BY name LIMIT ?2";
pub(super) const TAG_PAGE: &str =
    "SELECT name FROM tags WHERE repository_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
pub(super) const TAG_RECORD_PAGE: &str =
    "SELECT tags.name, manifests.digest, manifests.media_type, manifests.image_size, tags.updated_at,
            repository_manifests.pulled_at
     FROM tags JOIN manifests ON manifests.id = tags.manifest_id
     JOIN repository_manifests ON repository_manifests.repository_id = tags.repository_id
          AND repository_manifests.manifest_id = tags.manifest_id
     WHERE tags.repository_id = ?1 AND tags.name > ?2 ORDER BY tags.name LIMIT ?3";

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryName,
) -> Result<Option<i64>, MetadataError> {
    let mut statement = connection.prepare_cached("SELECT id FROM repositories WHERE name = ?1")?;
    Ok(statement.query_row([repository.as_str()], |row| row.get(0)).optional()?)
}

pub(super) fn find_or_create(
    connection: &Connection,
    repository: &RepositoryName,
    now: TimeColumn,
) -> Result<i64, MetadataError> {
    if let Some(id) = find(connection, repository)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO repositories (name, created_at) VALUES (?1, ?2)")?
        .execute(params![repository.as_str(), now])?;
    let id = connection.last_insert_rowid();
    quotas::cover(connection, id, repository)?;
    Ok(id)
}

pub(super) fn list(
    connection: &Connection,
    page: &PageRequest,
) -> Result<Page<RepositoryName>, MetadataError> {
    let mut statement = connection.prepare_cached(REPOSITORY_PAGE)?;
    let rows = statement
        .query_map(params![after(page), fetched(page)], |row| row.get(0).map(|TextColumn(name)| name))?;
    collect(rows, page)
}

pub(super) fn tags(
    connection: &Connection,
    repository: &RepositoryName,
    page: &PageRequest,
) -> Result<Option<Page<Tag>>, MetadataError> {
    let Some(id) = find(connection, repository)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(TAG_PAGE)?;
    let rows = statement
        .query_map(params![id, after(page), fetched(page)], |row| row.get(0).map(|TextColumn(tag)| tag))?;
    collect(rows, page).map(Some)
}

pub(super) fn tag_records(
    connection: &Connection,
    repository: &RepositoryName,
    page: &PageRequest,
) -> Result<Option<Page<TagRecord>>, MetadataError> {
    let Some(id) = find(connection, repository)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(TAG_RECORD_PAGE)?;
    let rows = statement.query_map(params![id, after(page), fetched(page)], read_tag_record)?;
    collect(rows, page).map(Some)
}

fn read_tag_record(row: &Row<'_>) -> rusqlite::Result<TagRecord> {
    Ok(TagRecord {
        tag: row.get::<_, TextColumn<_>>(0)?.0,
        digest: row.get::<_, DigestColumn>(1)?.0,
        media_type: row.get::<_, TextColumn<_>>(2)?.0,
        size: row.get::<_, SizeColumn>(3)?.0,
        pushed_at: row.get::<_, TimeColumn>(4)?.0,
        pulled_at: row.get::<_, Option<TimeColumn>>(5)?.map(|column| column.0),
    })
}

/// No name is empty, so every name is greater than the empty one.
fn after(page: &PageRequest) -> &str {
    page.after.as_deref().unwrap_or_default()
}

/// One more than asked for, which tells whether more follow.
fn fetched(page: &PageRequest) -> i64 {
    i64::try_from(page.limit).unwrap_or(i64::MAX).saturating_add(1)
}

fn collect<T>(
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    page: &PageRequest,
) -> Result<Page<T>, MetadataError> {
    let mut entries = rows.collect::<Result<Vec<T>, _>>()?;
    let more = entries.len() > page.limit;
    entries.truncate(page.limit);
    Ok(Page { entries, more })
}
