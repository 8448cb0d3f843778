//! Manifests, the rows that say what they name, and their tags.
//!
//! Bytes are stored once for all repositories. The row goes with the last repository that links it; so do its
//! references.
//!
//! Races. Every change here holds its repository's lock (see `repositories`), so of one repository they come one
//! after another, also in what they check: a blob that a push found linked is linked until the push has committed,
//! and of two writers of a tag the later sees and replaces what the earlier left. Two repositories meet only at the
//! row of a manifest that both link. A push locks that row shared before it links it; who removes a link
//! locks it alone before looking whether other links are left, in a statement of its own, which sees what others
//! committed while it waited. So the row is never removed under a push, nor left behind by two last removals. A
//! circle of such waits takes two pushes that each declare the other's type; the server ends it and the loser tries
//! again.

use bytes::Bytes;
use registry_types::{Digest, ManifestView, MediaType, Reference, RepositoryName, Tag};
use time::OffsetDateTime;
use tokio_postgres::{Row, types::ToSql};

use super::{
    ContentCache, ContentKey,
    columns::{DigestColumn, SizeColumn, TextColumn, TimeColumn},
    connection::Connection,
    error::Failure,
    repositories,
};
use crate::{
    ManifestRecord, MetadataError, NewManifest,
    cache::Lookup,
    manifest_rows::{annotations, image_size, references},
};

macro_rules! by_tag {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM repositories
             JOIN tags ON tags.repository_id = repositories.id
             JOIN manifests ON manifests.id = tags.manifest_id
             JOIN repository_manifests ON repository_manifests.repository_id = repositories.id
                  AND repository_manifests.manifest_id = manifests.id
             WHERE repositories.name = $1 AND tags.name = $2"
        )
    };
}

macro_rules! by_digest {
    ($columns:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM repositories
             JOIN manifests ON manifests.digest = $2
             JOIN repository_manifests ON repository_manifests.repository_id = repositories.id
                  AND repository_manifests.manifest_id = manifests.id
             WHERE repositories.name = $1"
        )
    };
}

/// A reference as queries take it.
enum Named<'a> {
    Tag(&'a str),
    Digest(DigestColumn),
}

impl Named<'_> {
    fn of(reference: &Reference) -> Named<'_> {
        match reference {
            Reference::Tag(tag) => Named::Tag(tag.as_str()),
            Reference::Digest(digest) => Named::Digest(DigestColumn(*digest)),
        }
    }

    /// The manifest without its bytes.
    fn light(&self) -> &'static str {
        match self {
            Named::Tag(_) => by_tag!("manifests.digest, media_type, pushed_at"),
            Named::Digest(_) => by_digest!("manifests.digest, media_type, pushed_at"),
        }
    }

    fn whole(&self) -> &'static str {
        match self {
            Named::Tag(_) => by_tag!("manifests.digest, media_type, pushed_at, bytes"),
            Named::Digest(_) => by_digest!("manifests.digest, media_type, pushed_at, bytes"),
        }
    }

    fn value(&self) -> &(dyn ToSql + Sync) {
        match self {
            Named::Tag(tag) => tag,
            Named::Digest(digest) => digest,
        }
    }
}

/// One query when the bytes are in `contents`. Otherwise a second one reads everything anew: what it answers is
/// of one moment, whatever changed since the first.
pub(super) async fn find(
    connection: &Connection,
    contents: &ContentCache,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Option<ManifestRecord>, Failure> {
    let named = Named::of(reference);
    let values = [&repository.as_str() as &(dyn ToSql + Sync), named.value()];
    let Some(row) = connection.row(named.light(), &values).await? else { return Ok(None) };
    let (key, pushed_at) = read(&row)?;
    if let Lookup::Hit(bytes) = contents.look_up(key.clone()) {
        return Ok(Some(ManifestRecord { digest: key.digest, media_type: key.media_type, bytes, pushed_at }));
    }
    let Some(row) = connection.row(named.whole(), &values).await? else { return Ok(None) };
    let (key, pushed_at) = read(&row)?;
    let bytes = Bytes::copy_from_slice(row.try_get(3)?);
    if let Lookup::Miss(load) = contents.look_up(key.clone()) {
        load.finish(bytes.clone());
    }
    Ok(Some(ManifestRecord { digest: key.digest, media_type: key.media_type, bytes, pushed_at }))
}

fn read(row: &Row) -> Result<(ContentKey, OffsetDateTime), Failure> {
    let DigestColumn(digest) = row.try_get(0)?;
    let TextColumn(media_type) = row.try_get(1)?;
    let TimeColumn(pushed_at) = row.try_get(2)?;
    Ok((ContentKey { digest, media_type }, pushed_at))
}

pub(super) async fn put(connection: &Connection, manifest: &NewManifest) -> Result<(), Failure> {
    let now = TimeColumn::now();
    let known = repositories::lock(connection, &manifest.repository).await?;
    if !manifest.allow_missing_blobs {
        check_blobs(connection, known, &manifest.view).await?;
    }
    let repository = match known {
        Some(id) => id,
        None => repositories::lock_or_create(connection, &manifest.repository, now).await?,
    };
    let id = store(connection, manifest).await?;
    let earlier = linked_id(connection, repository, &manifest.digest).await?;
    if earlier != Some(id) {
        let subject = manifest.view.subject.as_ref().map(|subject| DigestColumn(subject.digest));
        connection
            .execute(
                "INSERT INTO repository_manifests (repository_id, manifest_id, subject, pushed_at)
                 VALUES ($1, $2, $3, $4)",
                &[&repository, &id, &subject, &now],
            )
            .await?;
    }
    if let Some(earlier) = earlier.filter(|earlier| *earlier != id) {
        // The same bytes, pushed under another type before: the last push says what they are.
        connection
            .execute(
                "UPDATE tags SET manifest_id = $3 WHERE repository_id = $1 AND manifest_id = $2",
                &[&repository, &earlier, &id],
            )
            .await?;
        unlink(connection, repository, earlier).await?;
    }
    if !manifest.tags.is_empty() {
        // Each name once: one statement cannot write a row twice.
        let mut names: Vec<&str> = manifest.tags.iter().map(Tag::as_str).collect();
        names.sort_unstable();
        names.dedup();
        connection
            .execute(
                "INSERT INTO tags (repository_id, name, manifest_id, updated_at)
                 SELECT $1, name, $3, $4 FROM unnest($2::TEXT[]) name
                 ON CONFLICT (repository_id, name)
                 DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at",
                &[&repository, &names, &id, &now],
            )
            .await?;
    }
    Ok(())
}

/// Every required blob must be linked to the repository, whose lock is held.
async fn check_blobs(
    connection: &Connection,
    repository: Option<i64>,
    view: &ManifestView,
) -> Result<(), Failure> {
    let required: Vec<DigestColumn> =
        view.required_blobs().into_iter().map(|blob| DigestColumn(blob.digest)).collect();
    if required.is_empty() {
        return Ok(());
    }
    let rows = connection
        .rows(
            "SELECT digest FROM unnest($2::BYTEA[]) WITH ORDINALITY required (digest, position)
             WHERE NOT EXISTS (SELECT 1 FROM blobs JOIN repository_blobs ON repository_blobs.blob_id = blobs.id
                 WHERE blobs.digest = required.digest AND repository_blobs.repository_id = $1)
             ORDER BY position",
            &[&repository, &required],
        )
        .await?;
    if rows.is_empty() {
        return Ok(());
    }
    let missing = rows.iter().map(|row| Ok(row.try_get::<_, DigestColumn>(0)?.0));
    let missing = missing.collect::<Result<_, Failure>>()?;
    Err(MetadataError::MissingBlobs { missing }.into())
}

/// The row of these bytes as this type, locked shared, made with its references if new.
async fn store(connection: &Connection, manifest: &NewManifest) -> Result<i64, Failure> {
    let view = &manifest.view;
    let digest = DigestColumn(manifest.digest);
    loop {
        let known = connection
            .row(
                "SELECT id FROM manifests WHERE digest = $1 AND media_type = $2 FOR KEY SHARE",
                &[&digest, &view.media_type.as_str()],
            )
            .await?;
        if let Some(row) = known {
            return Ok(row.try_get(0)?);
        }
        let made = connection
            .row(
                "INSERT INTO manifests (digest, media_type, artifact_type, annotations, image_size, bytes)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (digest, media_type) DO NOTHING RETURNING id",
                &[
                    &digest,
                    &view.media_type.as_str(),
                    &view.effective_artifact_type().map(MediaType::as_str),
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
             SELECT $1, kind, digest FROM unnest($2::SMALLINT[], $3::BYTEA[]) named (kind, digest)
             ON CONFLICT DO NOTHING",
            &[&id, &kinds, &digests],
        )
        .await?;
    Ok(())
}

/// The row that the repository links under `digest`, of whichever type.
async fn linked_id(
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

pub(super) async fn delete_tag(
    connection: &Connection,
    repository: &RepositoryName,
    tag: &Tag,
) -> Result<bool, Failure> {
    let Some(repository) = repositories::lock(connection, repository).await? else { return Ok(false) };
    let removed = connection
        .execute("DELETE FROM tags WHERE repository_id = $1 AND name = $2", &[&repository, &tag.as_str()])
        .await?;
    Ok(removed > 0)
}

pub(super) async fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, Failure> {
    let Some(repository) = repositories::lock(connection, repository).await? else { return Ok(false) };
    let Some(id) = linked_id(connection, repository, digest).await? else { return Ok(false) };
    connection
        .execute("DELETE FROM tags WHERE repository_id = $1 AND manifest_id = $2", &[&repository, &id])
        .await?;
    unlink(connection, repository, id).await?;
    Ok(true)
}

/// Removes the link, and the row with its references when that was the last link.
async fn unlink(connection: &Connection, repository: i64, manifest: i64) -> Result<(), Failure> {
    connection
        .execute(
            "DELETE FROM repository_manifests WHERE repository_id = $1 AND manifest_id = $2",
            &[&repository, &manifest],
        )
        .await?;
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
