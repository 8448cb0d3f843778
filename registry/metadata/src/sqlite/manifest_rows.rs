//! The rows of manifests and of what they name.
//!
//! Bytes are stored once for all repositories. The row goes with the last repository that links it; so do its
//! references.

use registry_types::{ManifestView, MediaType};
use rusqlite::{Connection, OptionalExtension, params};
use time::OffsetDateTime;

use super::columns::{DigestColumn, SizeColumn, TimeColumn};
use crate::{
    Change, MetadataError, NewManifest,
    manifest_rows::{annotations, image_size, references},
};

/// The row of these bytes as this type, made with its references if new.
pub(super) fn store(connection: &Connection, manifest: &NewManifest) -> Result<i64, MetadataError> {
    let view = &manifest.view;
    let digest = DigestColumn(manifest.digest);
    let known: Option<i64> = connection
        .prepare_cached("SELECT id FROM manifests WHERE digest = ?1 AND media_type = ?2 COLLATE NOCASE")?
        .query_row(params![digest, view.media_type.as_str()], |row| row.get(0))
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let artifact_type = view.effective_artifact_type().map(MediaType::as_sent);
    connection
        .prepare_cached(
            "INSERT INTO manifests (digest, media_type, artifact_type, annotations, image_size, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            digest,
            view.media_type.as_sent(),
            artifact_type,
            annotations(view)?,
            SizeColumn(image_size(manifest)),
            &manifest.bytes[..],
        ])?;
    let id = connection.last_insert_rowid();
    store_references(connection, id, view)?;
    Ok(id)
}

fn store_references(connection: &Connection, id: i64, view: &ManifestView) -> Result<(), MetadataError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO manifest_references (manifest_id, kind, digest) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    for (kind, digest) in references(view) {
        statement.execute(params![id, kind as i64, DigestColumn(digest)])?;
    }
    Ok(())
}

/// Makes the manifest one of the repository's.
pub(super) fn link(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    view: &ManifestView,
    change: &Change,
) -> Result<(), MetadataError> {
    connection
        .prepare_cached(
            "INSERT INTO repository_manifests
                 (repository_id, manifest_id, subject, artifact_type, pushed_at, leased_until)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            repository,
            manifest,
            view.subject.as_ref().map(|subject| DigestColumn(subject.digest)),
            view.effective_artifact_type().map(MediaType::as_sent),
            TimeColumn(change.now),
            TimeColumn(change.leased_until()),
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO repository_references (repository_id, digest, kind, manifest_id)
             SELECT ?1, digest, kind, manifest_id FROM manifest_references
             WHERE manifest_id = ?2 AND kind <= 3",
        )?
        .execute([repository, manifest])?;
    Ok(())
}

/// Removes the link, and the row with its references when that was the last link. What it named in the
/// repository is queued.
pub(super) fn unlink(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    now: OffsetDateTime,
) -> Result<(), MetadataError> {
    connection
        .prepare_cached("DELETE FROM repository_manifests WHERE repository_id = ?1 AND manifest_id = ?2")?
        .execute([repository, manifest])?;
    connection.prepare_cached(FORGET_REFERENCES)?.execute([repository, manifest])?;
    for statement in [QUEUE_LINKS, QUEUE_CHILDREN] {
        connection.prepare_cached(statement)?.execute(params![repository, manifest, TimeColumn(now)])?;
    }
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

pub(super) const FORGET_REFERENCES: &str = "DELETE FROM repository_references
     WHERE (repository_id, digest, kind, manifest_id) IN
         (SELECT ?1, digest, kind, manifest_id FROM manifest_references WHERE manifest_id = ?2 AND kind <= 3)";

/// CROSS JOIN: SQLite keeps the order, from the few that the manifest names to their rows.
pub(super) const QUEUE_LINKS: &str = "INSERT INTO collection_queue (kind, repository_id, item_id, due_at)
     SELECT 1, ?1, blobs.id, max(repository_blobs.leased_until, ?3)
     FROM manifest_references CROSS JOIN blobs ON blobs.digest = manifest_references.digest
     CROSS JOIN repository_blobs
         ON repository_blobs.repository_id = ?1 AND repository_blobs.blob_id = blobs.id
     WHERE manifest_references.manifest_id = ?2 AND manifest_references.kind IN (1, 2)
     ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at";

pub(super) const QUEUE_CHILDREN: &str = "INSERT INTO collection_queue (kind, repository_id, item_id, due_at)
     SELECT 2, ?1, manifests.id, max(repository_manifests.leased_until, ?3)
     FROM manifest_references CROSS JOIN manifests ON manifests.digest = manifest_references.digest
     CROSS JOIN repository_manifests
         ON repository_manifests.repository_id = ?1 AND repository_manifests.manifest_id = manifests.id
     WHERE manifest_references.manifest_id = ?2 AND manifest_references.kind = 3
       AND repository_manifests.untagged_since IS NOT NULL
     ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at";
