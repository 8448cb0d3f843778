//! Whether something may go, and why: asked by collection, which acts on it, and by those who only want to know.
//! Each question costs a few looks into an index, whatever the size of the registry.

use registry_types::{BlobLocation, Digest, RepositoryName};
use rusqlite::{Connection, OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::columns::{DigestColumn, LocationColumn, SizeColumn, TextColumn, TimeColumn};
use crate::{
    CollectPolicy, KeepReason, MetadataError, Verdict,
    verdict::{self, ManifestState},
};

/// A blob's link as it stands.
pub(super) struct LinkState {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    leased_until: OffsetDateTime,
}

/// A blob as it stands.
pub(super) struct BlobState {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) location: BlobLocation,
    leased_until: OffsetDateTime,
}

/// `None`: there is no such link any more.
pub(super) fn link(
    connection: &Connection,
    (repository, blob): (i64, i64),
) -> Result<Option<LinkState>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT repositories.name, blobs.digest, repository_blobs.leased_until FROM repository_blobs
         JOIN repositories ON repositories.id = repository_blobs.repository_id
         JOIN blobs ON blobs.id = repository_blobs.blob_id
         WHERE repository_blobs.repository_id = ?1 AND repository_blobs.blob_id = ?2",
    )?;
    let read = |row: &Row<'_>| {
        Ok(LinkState {
            repository: row.get::<_, TextColumn<_>>(0)?.0,
            digest: row.get::<_, DigestColumn>(1)?.0,
            leased_until: row.get::<_, TimeColumn>(2)?.0,
        })
    };
    Ok(statement.query_row([repository, blob], read).optional()?)
}

/// `None`: the repository does not have the manifest any more.
pub(super) fn manifest(
    connection: &Connection,
    (repository, manifest): (i64, i64),
) -> Result<Option<ManifestState>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT repositories.name, manifests.digest, leased_until, untagged_since, orphaned_at, subject
         FROM repository_manifests
         JOIN repositories ON repositories.id = repository_manifests.repository_id
         JOIN manifests ON manifests.id = repository_manifests.manifest_id
         WHERE repository_manifests.repository_id = ?1 AND repository_manifests.manifest_id = ?2",
    )?;
    let read = |row: &Row<'_>| {
        Ok(ManifestState {
            repository: row.get::<_, TextColumn<_>>(0)?.0,
            digest: row.get::<_, DigestColumn>(1)?.0,
            leased_until: row.get::<_, TimeColumn>(2)?.0,
            untagged_since: row.get::<_, Option<TimeColumn>>(3)?.map(|column| column.0),
            orphaned_at: row.get::<_, Option<TimeColumn>>(4)?.map(|column| column.0),
            subject: row.get::<_, Option<DigestColumn>>(5)?.map(|column| column.0),
        })
    };
    Ok(statement.query_row([repository, manifest], read).optional()?)
}

/// `None`: the blob is gone.
pub(super) fn blob(connection: &Connection, blob: i64) -> Result<Option<BlobState>, MetadataError> {
    let mut statement =
        connection.prepare_cached("SELECT digest, size, location, leased_until FROM blobs WHERE id = ?1")?;
    let read = |row: &Row<'_>| {
        Ok(BlobState {
            digest: row.get::<_, DigestColumn>(0)?.0,
            size: row.get::<_, SizeColumn>(1)?.0,
            location: row.get::<_, LocationColumn>(2)?.0,
            leased_until: row.get::<_, TimeColumn>(3)?.0,
        })
    };
    Ok(statement.query_row([blob], read).optional()?)
}

pub(super) fn judge_link(
    connection: &Connection,
    repository: i64,
    link: &LinkState,
    now: OffsetDateTime,
) -> Result<Verdict, MetadataError> {
    let by = naming(connection, NAMING, repository, &link.digest)?;
    Ok(verdict::of_link(by, link.leased_until, now))
}

pub(super) fn judge_manifest(
    connection: &Connection,
    (repository, id): (i64, i64),
    manifest: &ManifestState,
    policy: &CollectPolicy,
    now: OffsetDateTime,
) -> Result<Verdict, MetadataError> {
    Ok(manifest.verdict(held(connection, (repository, id), manifest)?, policy, now))
}

/// What in its repository holds a manifest, for as long as that stays.
fn held(
    connection: &Connection,
    (repository, id): (i64, i64),
    manifest: &ManifestState,
) -> Result<Option<KeepReason>, MetadataError> {
    let tag = connection
        .prepare_cached("SELECT name FROM tags WHERE repository_id = ?1 AND manifest_id = ?2 LIMIT 1")?
        .query_row([repository, id], |row| row.get(0).map(|TextColumn(tag)| tag))
        .optional()?;
    if let Some(tag) = tag {
        return Ok(Some(KeepReason::Tagged { tag }));
    }
    if let Some(of) = naming(connection, PARENT, repository, &manifest.digest)? {
        return Ok(Some(KeepReason::Child { of }));
    }
    let Some(to) = manifest.subject else { return Ok(None) };
    Ok(has_manifest(connection, repository, &to)?.then_some(KeepReason::Refers { to }))
}

pub(super) fn judge_blob(
    connection: &Connection,
    id: i64,
    blob: &BlobState,
    now: OffsetDateTime,
) -> Result<Verdict, MetadataError> {
    let by = connection
        .prepare_cached(
            "SELECT repositories.name FROM repository_blobs
             JOIN repositories ON repositories.id = repository_blobs.repository_id
             WHERE repository_blobs.blob_id = ?1 LIMIT 1",
        )?
        .query_row([id], |row| row.get(0).map(|TextColumn(name)| name))
        .optional()?;
    Ok(verdict::of_blob(by, blob.leased_until, now))
}

pub(super) const NAMING: &str = "SELECT manifests.digest FROM repository_references
     JOIN manifests ON manifests.id = repository_references.manifest_id
     WHERE repository_id = ?1 AND repository_references.digest = ?2 AND kind IN (1, 2) LIMIT 1";

pub(super) const PARENT: &str = "SELECT manifests.digest FROM repository_references
     JOIN manifests ON manifests.id = repository_references.manifest_id
     WHERE repository_id = ?1 AND repository_references.digest = ?2 AND kind = 3 LIMIT 1";

fn naming(
    connection: &Connection,
    statement: &str,
    repository: i64,
    digest: &Digest,
) -> Result<Option<Digest>, MetadataError> {
    Ok(connection
        .prepare_cached(statement)?
        .query_row(params![repository, DigestColumn(*digest)], |row| {
            row.get(0).map(|DigestColumn(digest)| digest)
        })
        .optional()?)
}

pub(super) const HAS_MANIFEST: &str = "SELECT 1 FROM manifests
     JOIN repository_manifests ON repository_manifests.manifest_id = manifests.id
          AND repository_manifests.repository_id = ?1
     WHERE manifests.digest = ?2";

pub(super) fn has_manifest(
    connection: &Connection,
    repository: i64,
    digest: &Digest,
) -> Result<bool, MetadataError> {
    Ok(connection.prepare_cached(HAS_MANIFEST)?.exists(params![repository, DigestColumn(*digest)])?)
}
