//! The rows of manifests and of what they name.
//!
//! Bytes are stored once for all repositories. The row goes with the last repository that links it; so do its
//! references.
//!
//! Races: repositories meet only here. A push locks the manifest's row shared before it links it; who removes a
//! link locks it alone before looking whether other links are left, in a statement of its own, which sees what
//! others committed while it waited. So the row is never removed under a push, nor left behind by two last
//! removals. A circle of such waits takes two pushes that each declare the other's type; the server ends it and the
//! loser tries again.

use registry_types::{ManifestView, MediaType};
use time::OffsetDateTime;

use super::{
    columns::{DigestColumn, SizeColumn, TimeColumn},
    connection::Connection,
    error::Failure,
};
use crate::{
    Change, NewManifest,
    manifest_rows::{annotations, image_size, references},
};

/// The row of these bytes as this type, locked shared, made with its references if new.
pub(super) async fn store(connection: &Connection, manifest: &NewManifest) -> Result<i64, Failure> {
    let view = &manifest.view;
    let digest = DigestColumn(manifest.digest);
    loop {
        let known = connection
            .row(
                "SELECT id FROM manifests WHERE digest = $1 AND lower(media_type) = $2 FOR KEY SHARE",
                &[&digest, &view.media_type.as_sent().to_ascii_lowercase()],
            )
            .await?;
        if let Some(row) = known {
            return Ok(row.try_get(0)?);
        }
        let made = connection
            .row(
                "INSERT INTO manifests (digest, media_type, artifact_type, annotations, image_size, bytes)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING id",
                &[
                    &digest,
                    &view.media_type.as_sent(),
                    &view.effective_artifact_type().map(MediaType::as_sent),
                    &annotations(view)?,
                    &SizeColumn(image_size(manifest)),
                    &&manifest.bytes[..],
                ],
            )
            .await?;
        if let Some(row) = made {
            let id = row.try_get(0)?;
            store_references(connection, id, view).await?;
            return Ok(id);
        }
        // Another push made it meanwhile; if it is removed again before we look, the next round makes it.
    }
}

async fn store_references(connection: &Connection, id: i64, view: &ManifestView) -> Result<(), Failure> {
    let (kinds, digests): (Vec<i16>, Vec<DigestColumn>) =
        references(view).map(|(kind, digest)| (kind as i16, DigestColumn(digest))).unzip();
    connection
        .execute(
            "INSERT INTO manifest_references (manifest_id, kind, digest)
             SELECT $1::BIGINT, kind, digest FROM unnest($2::SMALLINT[], $3::BYTEA[]) named (kind, digest)
             ON CONFLICT DO NOTHING",
            &[&id, &kinds, &digests],
        )
        .await?;
    Ok(())
}

/// Makes the manifest one of the repository's.
pub(super) async fn link(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    view: &ManifestView,
    change: &Change,
) -> Result<(), Failure> {
    connection
        .execute(
            "INSERT INTO repository_manifests
                 (repository_id, manifest_id, subject, artifact_type, pushed_at, leased_until)
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                &repository,
                &manifest,
                &view.subject.as_ref().map(|subject| DigestColumn(subject.digest)),
                &view.effective_artifact_type().map(MediaType::as_sent),
                &TimeColumn(change.now),
                &TimeColumn(change.leased_until()),
            ],
        )
        .await?;
    connection
        .execute(
            "INSERT INTO repository_references (repository_id, digest, kind, manifest_id)
             SELECT $1::BIGINT, digest, kind, manifest_id FROM manifest_references
             WHERE manifest_id = $2 AND kind <= 3",
            &[&repository, &manifest],
        )
        .await?;
    Ok(())
}

/// Removes the link, and the row with its references when that was the last link. What it named in the
/// repository is queued.
pub(super) async fn unlink(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    now: OffsetDateTime,
) -> Result<(), Failure> {
    connection
        .execute(
            "DELETE FROM repository_manifests WHERE repository_id = $1 AND manifest_id = $2",
            &[&repository, &manifest],
        )
        .await?;
    connection.execute(FORGET_REFERENCES, &[&repository, &manifest]).await?;
    for queue in [QUEUE_LINKS, QUEUE_CHILDREN] {
        connection.execute(queue, &[&repository, &manifest, &TimeColumn(now)]).await?;
    }
    connection.row("SELECT 1 FROM manifests WHERE id = $1 FOR UPDATE", &[&manifest]).await?;
    let linked = connection
        .row("SELECT 1 FROM repository_manifests WHERE manifest_id = $1 LIMIT 1", &[&manifest])
        .await?;
    if linked.is_none() {
        connection.execute("DELETE FROM manifest_references WHERE manifest_id = $1", &[&manifest]).await?;
        connection.execute("DELETE FROM manifests WHERE id = $1", &[&manifest]).await?;
    }
    Ok(())
}

const FORGET_REFERENCES: &str = "DELETE FROM repository_references USING manifest_references named
     WHERE repository_references.repository_id = $1 AND repository_references.manifest_id = $2
       AND named.manifest_id = $2 AND named.kind <= 3
       AND repository_references.digest = named.digest AND repository_references.kind = named.kind";

/// DISTINCT: a digest that is config and layer at once is one link. In the order of ids, as everyone who queues
/// several entries.
const QUEUE_LINKS: &str = "INSERT INTO collection_queue (kind, repository_id, item_id, due_at)
     SELECT DISTINCT 1, $1::BIGINT, blobs.id, greatest(repository_blobs.leased_until, $3::BIGINT)
     FROM manifest_references JOIN blobs ON blobs.digest = manifest_references.digest
     JOIN repository_blobs ON repository_blobs.repository_id = $1 AND repository_blobs.blob_id = blobs.id
     WHERE manifest_references.manifest_id = $2 AND manifest_references.kind IN (1, 2) ORDER BY blobs.id
     ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at";

const QUEUE_CHILDREN: &str = "INSERT INTO collection_queue (kind, repository_id, item_id, due_at)
     SELECT DISTINCT 2, $1::BIGINT, manifests.id, greatest(repository_manifests.leased_until, $3::BIGINT)
     FROM manifest_references JOIN manifests ON manifests.digest = manifest_references.digest
     JOIN repository_manifests
         ON repository_manifests.repository_id = $1 AND repository_manifests.manifest_id = manifests.id
     WHERE manifest_references.manifest_id = $2 AND manifest_references.kind = 3
       AND repository_manifests.untagged_since IS NOT NULL ORDER BY manifests.id
     ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at";
