//! Manifests of repositories, and the tags on them.

use std::collections::BTreeSet;

use bytes::Bytes;
use registry_types::{Digest, ManifestView, Reference, RepositoryName, Tag};
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::{
    Changes,
    columns::{DigestColumn, TextColumn, TimeColumn},
    manifest_rows,
    queue::{self, QueueKind},
    repositories,
};
use crate::{Change, ManifestRecord, MetadataError, NewManifest, TagRecord};

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Option<ManifestRecord>, MetadataError> {
    let found = match reference {
        Reference::Tag(tag) => connection
            .prepare_cached(
                "SELECT manifests.digest, media_type, pushed_at, leased_until, bytes FROM repositories
                 JOIN tags ON tags.repository_id = repositories.id
                 JOIN manifests ON manifests.id = tags.manifest_id
                 JOIN repository_manifests ON repository_manifests.repository_id = repositories.id
                      AND repository_manifests.manifest_id = manifests.id
                 WHERE repositories.name = ?1 AND tags.name = ?2",
            )?
            .query_row(params![repository.as_str(), tag.as_str()], read)
            .optional()?,
        Reference::Digest(digest) => connection
            .prepare_cached(
                "SELECT manifests.digest, media_type, pushed_at, leased_until, bytes FROM repositories
                 JOIN manifests ON manifests.digest = ?2
                 JOIN repository_manifests ON repository_manifests.repository_id = repositories.id
                      AND repository_manifests.manifest_id = manifests.id
                 WHERE repositories.name = ?1",
            )?
            .query_row(params![repository.as_str(), DigestColumn(*digest)], read)
            .optional()?,
    };
    Ok(found)
}

fn read(row: &Row<'_>) -> rusqlite::Result<ManifestRecord> {
    Ok(ManifestRecord {
        digest: row.get::<_, DigestColumn>(0)?.0,
        media_type: row.get::<_, TextColumn<_>>(1)?.0,
        pushed_at: row.get::<_, TimeColumn>(2)?.0,
        leased_until: row.get::<_, TimeColumn>(3)?.0,
        bytes: Bytes::copy_from_slice(row.get_ref(4)?.as_blob()?),
    })
}

pub(super) fn put(
    connection: &Connection,
    manifest: &NewManifest,
    change: &Change,
    changes: &mut Changes,
) -> Result<(), MetadataError> {
    if !manifest.allow_missing_blobs {
        check_blobs(connection, &manifest.repository, &manifest.view)?;
    }
    let repository = repositories::find_or_create(connection, &manifest.repository, TimeColumn(change.now))?;
    check_immutable(connection, repository, manifest)?;
    let id = manifest_rows::store(connection, manifest)?;
    let earlier = linked_id(connection, repository, &manifest.digest)?;
    if earlier == Some(id) {
        renew_row(connection, repository, id, change.leased_until())?;
    } else {
        manifest_rows::link(connection, repository, id, &manifest.view, change)?;
    }
    if let Some(earlier) = earlier.filter(|earlier| *earlier != id) {
        // The same bytes, pushed under another type before: the last push says what they are.
        changes.tags(&manifest.repository, tags_of(connection, repository, earlier)?);
        connection
            .prepare_cached("UPDATE tags SET manifest_id = ?3 WHERE repository_id = ?1 AND manifest_id = ?2")?
            .execute([repository, earlier, id])?;
        manifest_rows::unlink(connection, repository, earlier, change.now)?;
    }
    move_tags(connection, repository, (id, &manifest.tags), change.now)?;
    pushed(connection, repository, id, change)?;
    changes.tags(&manifest.repository, manifest.tags.iter().cloned());
    changes.manifest(&manifest.repository, manifest.digest.into());
    Ok(())
}

/// Every required blob must be linked to the repository.
fn check_blobs(
    connection: &Connection,
    repository: &RepositoryName,
    view: &ManifestView,
) -> Result<(), MetadataError> {
    let repository = repositories::find(connection, repository)?;
    let mut linked = connection.prepare_cached(
        "SELECT 1 FROM blobs JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
         WHERE blobs.digest = ?1 AND repository_blobs.repository_id = ?2",
    )?;
    let mut missing = Vec::new();
    for blob in view.required_blobs() {
        if !linked.exists(params![DigestColumn(blob.digest), repository])? {
            missing.push(blob.digest);
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(MetadataError::MissingBlobs { missing }) }
}

/// No immutable tag may name another digest.
fn check_immutable(
    connection: &Connection,
    repository: i64,
    manifest: &NewManifest,
) -> Result<(), MetadataError> {
    let mut named = connection.prepare_cached(
        "SELECT manifests.digest FROM tags JOIN manifests ON manifests.id = tags.manifest_id
         WHERE tags.repository_id = ?1 AND tags.name = ?2",
    )?;
    for tag in &manifest.immutable_tags {
        let now: Option<DigestColumn> =
            named.query_row(params![repository, tag.as_str()], |row| row.get(0)).optional()?;
        if now.is_some_and(|DigestColumn(now)| now != manifest.digest) {
            return Err(MetadataError::TagImmutable { tag: tag.clone() });
        }
    }
    Ok(())
}

/// Points the tags at the manifest; those that named others may have been their last.
fn move_tags(
    connection: &Connection,
    repository: i64,
    (manifest, tags): (i64, &[Tag]),
    now: OffsetDateTime,
) -> Result<(), MetadataError> {
    let mut left = BTreeSet::new();
    for tag in tags {
        let before: Option<i64> = connection
            .prepare_cached("SELECT manifest_id FROM tags WHERE repository_id = ?1 AND name = ?2")?
            .query_row(params![repository, tag.as_str()], |row| row.get(0))
            .optional()?;
        left.extend(before.filter(|before| *before != manifest));
        connection
            .prepare_cached(
                "INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (repository_id, name)
                 DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at",
            )?
            .execute(params![repository, tag.as_str(), manifest, TimeColumn(now)])?;
    }
    left.into_iter().try_for_each(|manifest| lost_tag(connection, repository, manifest, now))
}

/// A push is a person's word: whatever the manifest lacked before counts from now on.
fn pushed(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    change: &Change,
) -> Result<(), MetadataError> {
    let tagged = is_tagged(connection, repository, manifest)?;
    let untagged_since = (!tagged).then_some(TimeColumn(change.now));
    connection
        .prepare_cached(
            "UPDATE repository_manifests SET untagged_since = ?3, orphaned_at = NULL
             WHERE repository_id = ?1 AND manifest_id = ?2",
        )?
        .execute(params![repository, manifest, untagged_since])?;
    if tagged {
        return Ok(());
    }
    queue::put(connection, QueueKind::Manifest, (repository, manifest), TimeColumn(change.leased_until()))
}

/// The manifest is to be looked at if this was its last tag.
fn lost_tag(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    now: OffsetDateTime,
) -> Result<(), MetadataError> {
    if is_tagged(connection, repository, manifest)? {
        return Ok(());
    }
    connection
        .prepare_cached(
            "UPDATE repository_manifests SET untagged_since = ?3
             WHERE repository_id = ?1 AND manifest_id = ?2",
        )?
        .execute(params![repository, manifest, TimeColumn(now)])?;
    queue::put(connection, QueueKind::Manifest, (repository, manifest), TimeColumn(now))
}

fn is_tagged(connection: &Connection, repository: i64, manifest: i64) -> Result<bool, MetadataError> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM tags WHERE repository_id = ?1 AND manifest_id = ?2 LIMIT 1")?
        .exists([repository, manifest])?)
}

/// The row that the repository links under `digest`, of whichever type.
fn linked_id(
    connection: &Connection,
    repository: i64,
    digest: &Digest,
) -> Result<Option<i64>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT manifests.id FROM manifests
         JOIN repository_manifests ON repository_manifests.manifest_id = manifests.id
              AND repository_manifests.repository_id = ?1
         WHERE manifests.digest = ?2",
    )?;
    Ok(statement.query_row(params![repository, DigestColumn(*digest)], |row| row.get(0)).optional()?)
}

pub(super) fn delete_tag(
    connection: &Connection,
    repository: &RepositoryName,
    tag: &Tag,
    now: OffsetDateTime,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    changes.tags(repository, [tag.clone()]);
    let Some(repository) = repositories::find(connection, repository)? else { return Ok(false) };
    let manifest = connection
        .prepare_cached("DELETE FROM tags WHERE repository_id = ?1 AND name = ?2 RETURNING manifest_id")?
        .query_row(params![repository, tag.as_str()], |row| row.get(0))
        .optional()?;
    let Some(manifest) = manifest else { return Ok(false) };
    lost_tag(connection, repository, manifest, now)?;
    Ok(true)
}

/// [`delete_tag`] if the tag stands as it was listed.
pub(super) fn delete_tag_unchanged(
    connection: &Connection,
    repository: &RepositoryName,
    listed: &TagRecord,
    now: OffsetDateTime,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    let Some(id) = repositories::find(connection, repository)? else { return Ok(false) };
    let Some(manifest) = linked_id(connection, id, &listed.digest)? else { return Ok(false) };
    let unchanged: Option<i64> = connection
        .prepare_cached(
            "SELECT 1 FROM tags
             WHERE repository_id = ?1 AND name = ?2 AND manifest_id = ?3 AND updated_at = ?4",
        )?
        .query_row(params![id, listed.tag.as_str(), manifest, TimeColumn(listed.pushed_at)], |row| row.get(0))
        .optional()?;
    match unchanged {
        Some(_) => delete_tag(connection, repository, &listed.tag, now, changes),
        None => Ok(false),
    }
}

/// The tags that name a manifest of a repository.
pub(super) fn tags_on(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Vec<Tag>, MetadataError> {
    let Some(repository) = repositories::find(connection, repository)? else { return Ok(Vec::new()) };
    let Some(manifest) = linked_id(connection, repository, digest)? else { return Ok(Vec::new()) };
    let mut tags = tags_of(connection, repository, manifest)?;
    tags.sort();
    Ok(tags)
}

pub(super) fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    now: OffsetDateTime,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    let Some(repository_id) = repositories::find(connection, repository)? else { return Ok(false) };
    let Some(id) = linked_id(connection, repository_id, digest)? else { return Ok(false) };
    remove(connection, (repository_id, repository), (id, digest), now, changes)?;
    Ok(true)
}

/// Takes a manifest and its tags out of a repository, and queues what it may have been the last to hold.
pub(super) fn remove(
    connection: &Connection,
    (repository, name): (i64, &RepositoryName),
    (manifest, digest): (i64, &Digest),
    now: OffsetDateTime,
    changes: &mut Changes,
) -> Result<(), MetadataError> {
    changes.tags(name, tags_of(connection, repository, manifest)?);
    changes.manifest(name, (*digest).into());
    connection
        .prepare_cached("DELETE FROM tags WHERE repository_id = ?1 AND manifest_id = ?2")?
        .execute([repository, manifest])?;
    manifest_rows::unlink(connection, repository, manifest, now)?;
    // However many refer to it, only the subject is noted: they are looked at in batches.
    connection
        .prepare_cached(
            "INSERT INTO deleted_subjects (repository_id, digest, after_id, deleted_at)
             SELECT ?1, ?2, 0, ?3
             WHERE EXISTS (SELECT 1 FROM repository_manifests WHERE repository_id = ?1 AND subject = ?2)
             ON CONFLICT (repository_id, digest)
             DO UPDATE SET after_id = 0, deleted_at = excluded.deleted_at",
        )?
        .execute(params![repository, DigestColumn(*digest), TimeColumn(now)])?;
    Ok(())
}

/// Makes the lease of a manifest last until `until` at least; false when the repository does not have it.
pub(super) fn renew(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    until: OffsetDateTime,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    let Some(repository_id) = repositories::find(connection, repository)? else { return Ok(false) };
    let Some(id) = linked_id(connection, repository_id, digest)? else { return Ok(false) };
    renew_row(connection, repository_id, id, until)?;
    changes.tags(repository, tags_of(connection, repository_id, id)?);
    changes.manifest(repository, (*digest).into());
    Ok(true)
}

fn renew_row(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    until: OffsetDateTime,
) -> Result<(), MetadataError> {
    connection
        .prepare_cached(
            "UPDATE repository_manifests SET leased_until = max(leased_until, ?3)
             WHERE repository_id = ?1 AND manifest_id = ?2",
        )?
        .execute(params![repository, manifest, TimeColumn(until)])?;
    Ok(())
}

fn tags_of(connection: &Connection, repository: i64, manifest: i64) -> Result<Vec<Tag>, MetadataError> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM tags WHERE repository_id = ?1 AND manifest_id = ?2")?;
    let tags = statement.query_map([repository, manifest], |row| row.get(0).map(|TextColumn(tag)| tag))?;
    Ok(tags.collect::<Result<_, _>>()?)
}
