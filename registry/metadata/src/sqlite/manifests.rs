//! Manifests, the rows that say what they name, and their tags.
//!
//! Bytes are stored once for all repositories. The row goes with the last repository that links it; so do its
//! references.

use bytes::Bytes;
use registry_types::{Digest, ManifestView, MediaType, Reference, RepositoryName, Tag};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    Changes,
    columns::{DigestColumn, SizeColumn, TextColumn, TimeColumn},
    repositories,
};
use crate::{ManifestRecord, MetadataError, NewManifest};

/// What a row of `manifest_references` points at.
#[derive(Clone, Copy)]
enum ReferenceKind {
    Config = 1,
    Layer = 2,
    Child = 3,
    Subject = 4,
}

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Option<ManifestRecord>, MetadataError> {
    let found = match reference {
        Reference::Tag(tag) => connection
            .prepare_cached(
                "SELECT manifests.digest, media_type, pushed_at, bytes FROM repositories
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
                "SELECT manifests.digest, media_type, pushed_at, bytes FROM repositories
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
        bytes: Bytes::copy_from_slice(row.get_ref(3)?.as_blob()?),
    })
}

pub(super) fn put(
    connection: &Connection,
    manifest: &NewManifest,
    changes: &mut Changes,
) -> Result<(), MetadataError> {
    let now = TimeColumn::now();
    if !manifest.allow_missing_blobs {
        check_blobs(connection, &manifest.repository, &manifest.view)?;
    }
    let repository = repositories::find_or_create(connection, &manifest.repository, now)?;
    let id = store(connection, manifest)?;
    let earlier = linked_id(connection, repository, &manifest.digest)?;
    if earlier != Some(id) {
        let subject = manifest.view.subject.as_ref().map(|subject| DigestColumn(subject.digest));
        connection
            .prepare_cached(
                "INSERT INTO repository_manifests (repository_id, manifest_id, subject, pushed_at)
                 VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![repository, id, subject, now])?;
    }
    if let Some(earlier) = earlier.filter(|earlier| *earlier != id) {
        // The same bytes, pushed under another type before: the last push says what they are.
        changes.tags(&manifest.repository, tags_of(connection, repository, earlier)?);
        connection
            .prepare_cached("UPDATE tags SET manifest_id = ?3 WHERE repository_id = ?1 AND manifest_id = ?2")?
            .execute([repository, earlier, id])?;
        unlink(connection, repository, earlier)?;
    }
    for tag in &manifest.tags {
        connection
            .prepare_cached(
                "INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (repository_id, name)
                 DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at",
            )?
            .execute(params![repository, tag.as_str(), id, now])?;
    }
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

/// The row of these bytes as this type, made with its references if new.
fn store(connection: &Connection, manifest: &NewManifest) -> Result<i64, MetadataError> {
    let view = &manifest.view;
    let digest = DigestColumn(manifest.digest);
    let known: Option<i64> = connection
        .prepare_cached("SELECT id FROM manifests WHERE digest = ?1 AND media_type = ?2")?
        .query_row(params![digest, view.media_type.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let artifact_type = view.effective_artifact_type().map(MediaType::as_str);
    let annotations = view.subject.as_ref().filter(|_| !view.annotations.is_empty());
    let annotations = annotations.map(|_| serde_json::to_string(&view.annotations)).transpose();
    let annotations = annotations.map_err(|error| MetadataError::Damaged { reason: error.to_string() })?;
    connection
        .prepare_cached(
            "INSERT INTO manifests (digest, media_type, artifact_type, annotations, image_size, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            digest,
            view.media_type.as_str(),
            artifact_type,
            annotations,
            SizeColumn(image_size(manifest)),
            &manifest.bytes[..],
        ])?;
    let id = connection.last_insert_rowid();
    store_references(connection, id, view)?;
    Ok(id)
}

fn store_references(connection: &Connection, id: i64, view: &ManifestView) -> Result<(), MetadataError> {
    let config = view.config.iter().map(|config| (ReferenceKind::Config, config));
    let layers = view.layers.iter().map(|layer| (ReferenceKind::Layer, layer));
    let children = view.manifests.iter().map(|child| (ReferenceKind::Child, child));
    let subject = view.subject.iter().map(|subject| (ReferenceKind::Subject, subject));
    let mut statement = connection.prepare_cached(
        "INSERT INTO manifest_references (manifest_id, kind, digest) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    for (kind, part) in config.chain(layers).chain(children).chain(subject) {
        statement.execute(params![id, kind as i64, DigestColumn(part.digest)])?;
    }
    Ok(())
}

/// Bytes of the manifest, its config and its layers, each digest once. Sizes are what the manifest claims, so
/// the sum stops at the largest number a column holds.
fn image_size(manifest: &NewManifest) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let parts = manifest.view.config.iter().chain(&manifest.view.layers);
    let parts = parts.filter(|part| seen.insert(part.digest)).map(|part| part.size);
    let size = parts.fold(manifest.bytes.len() as u64, u64::saturating_add);
    size.min(i64::MAX as u64)
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
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM tags
             WHERE repository_id = (SELECT id FROM repositories WHERE name = ?1) AND name = ?2",
        )?
        .execute([repository.as_str(), tag.as_str()])?;
    changes.tags(repository, [tag.clone()]);
    Ok(removed > 0)
}

pub(super) fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    changes: &mut Changes,
) -> Result<bool, MetadataError> {
    let Some(repository_id) = repositories::find(connection, repository)? else { return Ok(false) };
    let Some(id) = linked_id(connection, repository_id, digest)? else { return Ok(false) };
    changes.tags(repository, tags_of(connection, repository_id, id)?);
    changes.manifest(repository, (*digest).into());
    connection
        .prepare_cached("DELETE FROM tags WHERE repository_id = ?1 AND manifest_id = ?2")?
        .execute([repository_id, id])?;
    unlink(connection, repository_id, id)?;
    Ok(true)
}

fn tags_of(connection: &Connection, repository: i64, manifest: i64) -> Result<Vec<Tag>, MetadataError> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM tags WHERE repository_id = ?1 AND manifest_id = ?2")?;
    let tags = statement.query_map([repository, manifest], |row| row.get(0).map(|TextColumn(tag)| tag))?;
    Ok(tags.collect::<Result<_, _>>()?)
}

/// Removes the link, and the row with its references when that was the last link.
fn unlink(connection: &Connection, repository: i64, manifest: i64) -> Result<(), MetadataError> {
    connection
        .prepare_cached("DELETE FROM repository_manifests WHERE repository_id = ?1 AND manifest_id = ?2")?
        .execute([repository, manifest])?;
    let linked = connection
        .prepare_cached("SELECT 1 FROM repository_manifests WHERE manifest_id = ?1 LIMIT 1")?
        .exists([manifest])?;
    if !linked {
        connection
            .prepare_cached("DELETE FROM manifest_references WHERE manifest_id = ?1")?
            .execute([manifest])?;
        connection.prepare_cached("DELETE FROM manifests WHERE id = ?1")?.execute([manifest])?;
    }
    Ok(())
}
