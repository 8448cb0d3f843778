//! Manifests of repositories, and their tags.
//!
//! Races. Every change here holds its repository's lock (see `repositories`), so of one repository they come one
//! after another, also in what they check: a blob that a push found linked is linked until the push has committed,
//! and of two writers of a tag the later sees and replaces what the earlier left. Two repositories meet only at the
//! row of a manifest that both link (see `manifest_rows`).

use bytes::Bytes;
use registry_types::{Digest, ManifestView, Reference, RepositoryName, Tag};
use time::OffsetDateTime;
use tokio_postgres::{Row, types::ToSql};

use super::{
    ContentCache, ContentKey,
    columns::{DigestColumn, TextColumn, TimeColumn},
    connection::Connection,
    error::Failure,
    manifest_rows, repositories,
    verdicts::manifest_id,
};
use crate::{Change, ManifestRecord, MetadataError, NewManifest, cache::Lookup};

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

/// The manifest without its bytes.
pub(super) const BY_TAG: &str = by_tag!("manifests.digest, media_type, pushed_at, leased_until");
pub(super) const BY_DIGEST: &str = by_digest!("manifests.digest, media_type, pushed_at, leased_until");

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

    fn light(&self) -> &'static str {
        match self {
            Named::Tag(_) => BY_TAG,
            Named::Digest(_) => BY_DIGEST,
        }
    }

    fn whole(&self) -> &'static str {
        match self {
            Named::Tag(_) => by_tag!("manifests.digest, media_type, pushed_at, leased_until, bytes"),
            Named::Digest(_) => by_digest!("manifests.digest, media_type, pushed_at, leased_until, bytes"),
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
    if let Lookup::Hit(bytes) = contents.look_up(key(&row)?) {
        return read(&row, bytes).map(Some);
    }
    let Some(row) = connection.row(named.whole(), &values).await? else { return Ok(None) };
    let bytes = Bytes::copy_from_slice(row.try_get(4)?);
    if let Lookup::Miss(load) = contents.look_up(key(&row)?) {
        load.finish(bytes.clone());
    }
    read(&row, bytes).map(Some)
}

fn key(row: &Row) -> Result<ContentKey, Failure> {
    let (DigestColumn(digest), TextColumn(media_type)) = (row.try_get(0)?, row.try_get(1)?);
    Ok(ContentKey { digest, media_type })
}

fn read(row: &Row, bytes: Bytes) -> Result<ManifestRecord, Failure> {
    let ContentKey { digest, media_type } = key(row)?;
    let (TimeColumn(pushed_at), TimeColumn(leased_until)) = (row.try_get(2)?, row.try_get(3)?);
    Ok(ManifestRecord { digest, media_type, bytes, pushed_at, leased_until })
}

pub(super) async fn put(
    connection: &Connection,
    manifest: &NewManifest,
    change: &Change,
) -> Result<(), Failure> {
    let known = repositories::lock(connection, &manifest.repository).await?;
    if !manifest.allow_missing_blobs {
        check_blobs(connection, known, &manifest.view).await?;
    }
    let repository = match known {
        Some(id) => id,
        None => {
            repositories::lock_or_create(connection, &manifest.repository, TimeColumn(change.now)).await?
        }
    };
    check_immutable(connection, repository, manifest).await?;
    let id = manifest_rows::store(connection, manifest).await?;
    let earlier = manifest_id(connection, repository, &manifest.digest).await?;
    if earlier != Some(id) {
        manifest_rows::link(connection, repository, id, &manifest.view, change).await?;
    }
    if let Some(earlier) = earlier.filter(|earlier| *earlier != id) {
        // The same bytes, pushed under another type before: the last push says what they are.
        connection
            .execute(
                "UPDATE tags SET manifest_id = $3 WHERE repository_id = $1 AND manifest_id = $2",
                &[&repository, &earlier, &id],
            )
            .await?;
        manifest_rows::unlink(connection, repository, earlier, change.now).await?;
    }
    move_tags(connection, repository, (id, &manifest.tags), change.now).await?;
    pushed(connection, repository, id, change).await
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

/// No immutable tag may name another digest.
async fn check_immutable(
    connection: &Connection,
    repository: i64,
    manifest: &NewManifest,
) -> Result<(), Failure> {
    if manifest.immutable_tags.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = manifest.immutable_tags.iter().map(Tag::as_str).collect();
    let held = connection
        .row(
            "SELECT tags.name FROM tags JOIN manifests ON manifests.id = tags.manifest_id
             WHERE tags.repository_id = $1 AND tags.name = ANY ($2::TEXT[]) AND manifests.digest <> $3
             ORDER BY array_position($2::TEXT[], tags.name) LIMIT 1",
            &[&repository, &names, &DigestColumn(manifest.digest)],
        )
        .await?;
    match held {
        None => Ok(()),
        Some(row) => {
            let TextColumn(tag) = row.try_get(0)?;
            Err(MetadataError::TagImmutable { tag }.into())
        }
    }
}

/// Points the tags at the manifest; those that named others may have been their last.
async fn move_tags(
    connection: &Connection,
    repository: i64,
    (manifest, tags): (i64, &[Tag]),
    now: OffsetDateTime,
) -> Result<(), Failure> {
    if tags.is_empty() {
        return Ok(());
    }
    // Each name once: one statement cannot write a row twice.
    let mut names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let left = connection
        .rows(
            "SELECT DISTINCT manifest_id FROM tags
             WHERE repository_id = $1 AND name = ANY ($2::TEXT[]) AND manifest_id <> $3",
            &[&repository, &names, &manifest],
        )
        .await?;
    connection
        .execute(
            "INSERT INTO tags (repository_id, name, manifest_id, updated_at)
             SELECT $1::BIGINT, name, $3::BIGINT, $4::BIGINT FROM unnest($2::TEXT[]) name
             ON CONFLICT (repository_id, name)
             DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at",
            &[&repository, &names, &manifest, &TimeColumn(now)],
        )
        .await?;
    let left = left.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    lost_tags(connection, repository, &left, now).await
}

/// A push is a person's word: whatever the manifest lacked before counts from now on.
async fn pushed(
    connection: &Connection,
    repository: i64,
    manifest: i64,
    change: &Change,
) -> Result<(), Failure> {
    connection
        .execute(
            "WITH pushed AS (
                 UPDATE repository_manifests SET orphaned_at = NULL,
                     leased_until = greatest(leased_until, $4::BIGINT),
                     untagged_since = CASE WHEN EXISTS
                         (SELECT 1 FROM tags WHERE repository_id = $1 AND manifest_id = $2) THEN NULL ELSE $3::BIGINT END
                 WHERE repository_id = $1 AND manifest_id = $2 RETURNING untagged_since)
             INSERT INTO collection_queue (kind, repository_id, item_id, due_at)
             SELECT 2, $1::BIGINT, $2::BIGINT, $4::BIGINT FROM pushed WHERE untagged_since IS NOT NULL
             ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at",
            &[&repository, &manifest, &TimeColumn(change.now), &TimeColumn(change.leased_until())],
        )
        .await?;
    Ok(())
}

/// Those manifests are to be looked at that have no tag left.
async fn lost_tags(
    connection: &Connection,
    repository: i64,
    manifests: &[i64],
    now: OffsetDateTime,
) -> Result<(), Failure> {
    if manifests.is_empty() {
        return Ok(());
    }
    connection
        .execute(
            "WITH lost AS (
                 UPDATE repository_manifests SET untagged_since = $3::BIGINT
                 WHERE repository_id = $1 AND manifest_id = ANY ($2::BIGINT[])
                   AND NOT EXISTS (SELECT 1 FROM tags WHERE tags.repository_id = $1
                       AND tags.manifest_id = repository_manifests.manifest_id)
                 RETURNING manifest_id)
             INSERT INTO collection_queue (kind, repository_id, item_id, due_at)
             SELECT 2, $1::BIGINT, manifest_id, $3::BIGINT FROM lost
             ON CONFLICT (kind, repository_id, item_id) DO UPDATE SET due_at = excluded.due_at",
            &[&repository, &manifests, &TimeColumn(now)],
        )
        .await?;
    Ok(())
}

pub(super) async fn delete_tag(
    connection: &Connection,
    repository: &RepositoryName,
    tag: &Tag,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let Some(repository) = repositories::lock(connection, repository).await? else { return Ok(false) };
    let removed = connection
        .row(
            "DELETE FROM tags WHERE repository_id = $1 AND name = $2 RETURNING manifest_id",
            &[&repository, &tag.as_str()],
        )
        .await?;
    let Some(row) = removed else { return Ok(false) };
    lost_tags(connection, repository, &[row.try_get(0)?], now).await?;
    Ok(true)
}

pub(super) async fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let Some(repository) = repositories::lock(connection, repository).await? else { return Ok(false) };
    let Some(id) = manifest_id(connection, repository, digest).await? else { return Ok(false) };
    remove(connection, repository, (id, digest), now).await?;
    Ok(true)
}

/// Takes a manifest and its tags out of a repository whose lock is held, and queues what it may have been the last
/// to hold.
pub(super) async fn remove(
    connection: &Connection,
    repository: i64,
    (manifest, digest): (i64, &Digest),
    now: OffsetDateTime,
) -> Result<(), Failure> {
    connection
        .execute("DELETE FROM tags WHERE repository_id = $1 AND manifest_id = $2", &[&repository, &manifest])
        .await?;
    manifest_rows::unlink(connection, repository, manifest, now).await?;
    // However many refer to it, only the subject is noted: they are looked at in batches.
    connection
        .execute(
            "INSERT INTO deleted_subjects (repository_id, digest, after_id, deleted_at)
             SELECT $1::BIGINT, $2::BYTEA, 0, $3::BIGINT
             WHERE EXISTS (SELECT 1 FROM repository_manifests WHERE repository_id = $1 AND subject = $2)
             ON CONFLICT (repository_id, digest)
             DO UPDATE SET after_id = 0, deleted_at = excluded.deleted_at",
            &[&repository, &DigestColumn(*digest), &TimeColumn(now)],
        )
        .await?;
    Ok(())
}

/// Makes the lease of a manifest last until `until` at least; false when the repository does not have it. Twice
/// the same is the same.
pub(super) async fn renew(
    connection: &Connection,
    repository: &RepositoryName,
    digest: &Digest,
    until: OffsetDateTime,
) -> Result<bool, Failure> {
    let renewed = connection
        .execute(
            "UPDATE repository_manifests SET leased_until = greatest(leased_until, $3::BIGINT)
             WHERE repository_id = (SELECT id FROM repositories WHERE name = $1)
               AND manifest_id IN (SELECT id FROM manifests WHERE digest = $2)",
            &[&repository.as_str(), &DigestColumn(*digest), &TimeColumn(until)],
        )
        .await?;
    Ok(renewed > 0)
}
