//! The referrers list, page by page. A page takes the memory that was asked for, and reads no row behind it but
//! the one that shows that more follow.

use registry_types::{Digest, MediaType, RepositoryName};
use rusqlite::{
    Connection, Row, params,
    types::{FromSqlError, ValueRef},
};
use serde_json::value::RawValue;

use super::{
    columns::{DigestColumn, SizeColumn, TextColumn},
    repositories,
};
use crate::{MetadataError, Page, Referrer, ReferrerMarker, ReferrersRequest};

/// Bytes of an entry beside its types and annotations, in memory as in JSON: keys, digest and size.
const ENTRY_BYTES: usize = 256;

/// A page of all, in the order of the index.
pub(super) const PAGE: &str =
    "SELECT manifests.digest, media_type, length(bytes), manifests.artifact_type, annotations,
        repository_manifests.id
     FROM repository_manifests JOIN manifests ON manifests.id = repository_manifests.manifest_id
     WHERE repository_manifests.repository_id = ?1 AND repository_manifests.subject = ?2
       AND repository_manifests.id > ?3
     ORDER BY repository_manifests.id";

/// A page of one type, likewise: the index compares types without case.
pub(super) const TYPE_PAGE: &str =
    "SELECT manifests.digest, media_type, length(bytes), manifests.artifact_type, annotations,
        repository_manifests.id
     FROM repository_manifests JOIN manifests ON manifests.id = repository_manifests.manifest_id
     WHERE repository_manifests.repository_id = ?1 AND repository_manifests.subject = ?2
       AND repository_manifests.id > ?3
       AND repository_manifests.artifact_type = ?4 COLLATE NOCASE
     ORDER BY repository_manifests.id";

pub(super) fn list(
    connection: &Connection,
    repository: &RepositoryName,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
    page: ReferrersRequest,
) -> Result<Page<Referrer>, MetadataError> {
    let mut entries = Vec::new();
    let Some(repository) = repositories::find(connection, repository)? else {
        return Ok(Page { entries, more: false });
    };
    // Row ids begin at 1.
    let after = page.after.map_or(0, |marker| marker.0);
    let subject = DigestColumn(*subject);
    let mut statement = connection.prepare_cached(artifact_type.map_or(PAGE, |_| TYPE_PAGE))?;
    let mut rows = match artifact_type {
        None => statement.query(params![repository, subject, after])?,
        Some(artifact_type) => {
            statement.query(params![repository, subject, after, artifact_type.as_str()])?
        }
    };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += length(row)?;
        if !entries.is_empty() && (entries.len() >= page.entries || bytes > page.bytes) {
            return Ok(Page { entries, more: true });
        }
        entries.push(read(row)?);
    }
    Ok(Page { entries, more: false })
}

/// What the row adds to its page, in bytes, told without copying its texts.
fn length(row: &Row<'_>) -> rusqlite::Result<usize> {
    let texts = [row.get_ref(1)?, row.get_ref(3)?, row.get_ref(4)?];
    let text = |value: ValueRef<'_>| value.as_str_or_null().ok().flatten().map_or(0, str::len);
    Ok(texts.into_iter().map(text).sum::<usize>() + ENTRY_BYTES)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Referrer> {
    Ok(Referrer {
        digest: row.get::<_, DigestColumn>(0)?.0,
        media_type: row.get::<_, TextColumn<_>>(1)?.0,
        size: row.get::<_, SizeColumn>(2)?.0,
        artifact_type: row.get::<_, Option<TextColumn<_>>>(3)?.map(|column| column.0),
        annotations: row.get_ref(4)?.as_str_or_null()?.map(object).transpose()?,
        marker: ReferrerMarker(row.get(5)?),
    })
}

/// Text that goes out as it is must at least be an object.
fn object(text: &str) -> rusqlite::Result<Box<RawValue>> {
    let damaged = |error| rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, error);
    if !text.starts_with('{') {
        return Err(damaged(Box::new(FromSqlError::InvalidType)));
    }
    RawValue::from_string(text.to_owned()).map_err(|error| damaged(Box::new(error)))
}
