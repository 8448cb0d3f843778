//! Whether something may go, and why: asked by collection, which acts on it, and by those who only want to know.
//! Each question costs a few looks into an index, whatever the size of the registry.
//!
//! Who acts on an answer asks for the state with its rows locked and holds the repository's lock; a state that is
//! locked by others is not waited for.

use registry_types::{BlobLocation, Digest, RepositoryName};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    blobs::LockedBlob,
    columns::{DigestColumn, LocationColumn, TextColumn, TimeColumn},
    connection::Connection,
    error::Failure,
};
use crate::{
    CollectPolicy, KeepReason, Verdict,
    verdict::{self, ManifestState},
};

/// What a look at an item found.
pub(super) enum Look<T> {
    Found(T),
    /// Another transaction is changing it.
    Busy,
    Gone,
}

/// A blob's link as it stands.
pub(super) struct LinkState {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    pub(super) blob: LockedBlob,
    leased_until: OffsetDateTime,
}

/// A blob as it stands.
pub(super) struct BlobState {
    pub(super) digest: Digest,
    pub(super) blob: LockedBlob,
    pub(super) location: BlobLocation,
}

macro_rules! link {
    ($lock:literal) => {
        concat!(
            "SELECT blobs.id, blobs.size, blobs.leased_until, repositories.name, blobs.digest,
                 repository_blobs.leased_until
             FROM repository_blobs JOIN repositories ON repositories.id = repository_blobs.repository_id
             JOIN blobs ON blobs.id = repository_blobs.blob_id
             WHERE repository_blobs.repository_id = $1 AND repository_blobs.blob_id = $2",
            $lock
        )
    };
}

macro_rules! manifest {
    ($lock:literal) => {
        concat!(
            "SELECT repositories.name, manifests.digest, leased_until, untagged_since, orphaned_at, subject
             FROM repository_manifests
             JOIN repositories ON repositories.id = repository_manifests.repository_id
             JOIN manifests ON manifests.id = repository_manifests.manifest_id
             WHERE repository_manifests.repository_id = $1 AND repository_manifests.manifest_id = $2",
            $lock
        )
    };
}

macro_rules! blob {
    ($lock:literal) => {
        concat!("SELECT id, size, leased_until, digest, location FROM blobs WHERE id = $1", $lock)
    };
}

/// The link as a question asks for it. `None`: there is no such link any more.
pub(super) async fn link(
    connection: &Connection,
    (repository, blob): (i64, i64),
) -> Result<Option<LinkState>, Failure> {
    connection.row(link!(""), &[&repository, &blob]).await?.as_ref().map(read_link).transpose()
}

/// The link with itself and its blob locked.
pub(super) async fn lock_link(
    connection: &Connection,
    (repository, blob): (i64, i64),
) -> Result<Look<LinkState>, Failure> {
    let locked = link!(" FOR NO KEY UPDATE OF blobs, repository_blobs SKIP LOCKED");
    if let Some(row) = connection.row(locked, &[&repository, &blob]).await? {
        return Ok(Look::Found(read_link(&row)?));
    }
    let there = connection.row(link!(""), &[&repository, &blob]).await?;
    Ok(if there.is_some() { Look::Busy } else { Look::Gone })
}

fn read_link(row: &Row) -> Result<LinkState, Failure> {
    Ok(LinkState {
        blob: LockedBlob::read(row)?,
        repository: row.try_get::<_, TextColumn<_>>(3)?.0,
        digest: row.try_get::<_, DigestColumn>(4)?.0,
        leased_until: row.try_get::<_, TimeColumn>(5)?.0,
    })
}

/// The manifest as a question asks for it. `None`: the repository does not have it any more.
pub(super) async fn manifest(
    connection: &Connection,
    (repository, manifest): (i64, i64),
) -> Result<Option<ManifestState>, Failure> {
    connection.row(manifest!(""), &[&repository, &manifest]).await?.as_ref().map(read_manifest).transpose()
}

/// The manifest locked, both as the repository's and as its own row.
pub(super) async fn lock_manifest(
    connection: &Connection,
    (repository, manifest): (i64, i64),
) -> Result<Look<ManifestState>, Failure> {
    let locked = manifest!(" FOR UPDATE OF repository_manifests, manifests SKIP LOCKED");
    if let Some(row) = connection.row(locked, &[&repository, &manifest]).await? {
        return Ok(Look::Found(read_manifest(&row)?));
    }
    let there = connection.row(manifest!(""), &[&repository, &manifest]).await?;
    Ok(if there.is_some() { Look::Busy } else { Look::Gone })
}

fn read_manifest(row: &Row) -> Result<ManifestState, Failure> {
    let time = |column| Ok::<_, Failure>(row.try_get::<_, Option<TimeColumn>>(column)?.map(|time| time.0));
    Ok(ManifestState {
        repository: row.try_get::<_, TextColumn<_>>(0)?.0,
        digest: row.try_get::<_, DigestColumn>(1)?.0,
        leased_until: row.try_get::<_, TimeColumn>(2)?.0,
        untagged_since: time(3)?,
        orphaned_at: time(4)?,
        subject: row.try_get::<_, Option<DigestColumn>>(5)?.map(|column| column.0),
    })
}

/// The blob with its row locked.
pub(super) async fn lock_blob(connection: &Connection, blob: i64) -> Result<Look<BlobState>, Failure> {
    if let Some(row) = connection.row(blob!(" FOR UPDATE SKIP LOCKED"), &[&blob]).await? {
        return Ok(Look::Found(BlobState {
            blob: LockedBlob::read(&row)?,
            digest: row.try_get::<_, DigestColumn>(3)?.0,
            location: row.try_get::<_, LocationColumn>(4)?.0,
        }));
    }
    let there = connection.row(blob!(""), &[&blob]).await?;
    Ok(if there.is_some() { Look::Busy } else { Look::Gone })
}

pub(super) async fn judge_link(
    connection: &Connection,
    repository: i64,
    link: &LinkState,
    now: OffsetDateTime,
) -> Result<Verdict, Failure> {
    let by = naming(connection, NAMING, repository, &link.digest).await?;
    Ok(verdict::of_link(by, link.leased_until, now))
}

pub(super) async fn judge_manifest(
    connection: &Connection,
    (repository, id): (i64, i64),
    manifest: &ManifestState,
    policy: &CollectPolicy,
    now: OffsetDateTime,
) -> Result<Verdict, Failure> {
    Ok(manifest.verdict(held(connection, (repository, id), manifest).await?, policy, now))
}

/// What in its repository holds a manifest, for as long as that stays.
async fn held(
    connection: &Connection,
    (repository, id): (i64, i64),
    manifest: &ManifestState,
) -> Result<Option<KeepReason>, Failure> {
    let tag = connection
        .row(
            "SELECT name FROM tags WHERE repository_id = $1 AND manifest_id = $2 LIMIT 1",
            &[&repository, &id],
        )
        .await?;
    if let Some(row) = tag {
        let TextColumn(tag) = row.try_get(0)?;
        return Ok(Some(KeepReason::Tagged { tag }));
    }
    if let Some(of) = naming(connection, PARENT, repository, &manifest.digest).await? {
        return Ok(Some(KeepReason::Child { of }));
    }
    let Some(to) = manifest.subject else { return Ok(None) };
    Ok(has_manifest(connection, repository, &to).await?.then_some(KeepReason::Refers { to }))
}

pub(super) async fn judge_blob(
    connection: &Connection,
    blob: &LockedBlob,
    now: OffsetDateTime,
) -> Result<Verdict, Failure> {
    let by = connection
        .row(
            "SELECT repositories.name FROM repository_blobs
             JOIN repositories ON repositories.id = repository_blobs.repository_id
             WHERE repository_blobs.blob_id = $1 LIMIT 1",
            &[&blob.id],
        )
        .await?;
    let by = by.map(|row| row.try_get(0)).transpose()?.map(|TextColumn(by)| by);
    Ok(verdict::of_blob(by, blob.leased_until, now))
}

pub(super) const NAMING: &str = "SELECT manifests.digest FROM repository_references
     JOIN manifests ON manifests.id = repository_references.manifest_id
     WHERE repository_id = $1 AND repository_references.digest = $2 AND kind IN (1, 2) LIMIT 1";

pub(super) const PARENT: &str = "SELECT manifests.digest FROM repository_references
     JOIN manifests ON manifests.id = repository_references.manifest_id
     WHERE repository_id = $1 AND repository_references.digest = $2 AND kind = 3 LIMIT 1";

async fn naming(
    connection: &Connection,
    query: &'static str,
    repository: i64,
    digest: &Digest,
) -> Result<Option<Digest>, Failure> {
    let row = connection.row(query, &[&repository, &DigestColumn(*digest)]).await?;
    Ok(row.map(|row| row.try_get::<_, DigestColumn>(0)).transpose()?.map(|column| column.0))
}

pub(super) async fn has_manifest(
    connection: &Connection,
    repository: i64,
    digest: &Digest,
) -> Result<bool, Failure> {
    Ok(manifest_id(connection, repository, digest).await?.is_some())
}

/// The row that the repository links under `digest`, of whichever type.
pub(super) async fn manifest_id(
    connection: &Connection,
    repository: i64,
    digest: &Digest,
) -> Result<Option<i64>, Failure> {
    let row = connection
        .row(
            "SELECT manifests.id FROM manifests
             JOIN repository_manifests ON repository_manifests.manifest_id = manifests.id
                  AND repository_manifests.repository_id = $1
             WHERE manifests.digest = $2",
            &[&repository, &DigestColumn(*digest)],
        )
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
