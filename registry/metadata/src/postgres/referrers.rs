//! The referrers list, page by page. The server cuts a page where it is full, so that neither it nor we read the
//! annotations of more.

use registry_types::{Digest, MediaType, RepositoryName};
use serde_json::value::RawValue;
use tokio_postgres::{Row, types::ToSql};

use super::{
    columns::{DigestColumn, SizeColumn, TextColumn, limit},
    connection::Connection,
    error::Failure,
};
use crate::{MetadataError, Page, Referrer, ReferrerMarker, ReferrersRequest};

/// Bytes of an entry beside its types and annotations, in memory as in JSON: keys, digest and size.
const ENTRY_BYTES: i64 = 256;

/// Lengths of stored texts are known without reading them; `fetched` rows were looked at, one more than asked for.
macro_rules! page {
    ($filter:literal) => {
        concat!(
            "WITH fetched AS (
                 SELECT manifests.digest, media_type, octet_length(bytes)::BIGINT AS size,
                     manifests.artifact_type, annotations, repository_manifests.id,
                     row_number() OVER (ORDER BY repository_manifests.id) AS position,
                     sum(octet_length(media_type) + coalesce(octet_length(manifests.artifact_type), 0)
                         + coalesce(octet_length(annotations), 0) + $6::BIGINT)
                         OVER (ORDER BY repository_manifests.id)::BIGINT AS total
                 FROM repository_manifests JOIN manifests ON manifests.id = repository_manifests.manifest_id
                 WHERE repository_id = (SELECT repositories.id FROM repositories WHERE name = $1)
                   AND repository_manifests.subject = $2 AND repository_manifests.id > $3",
            $filter,
            " ORDER BY repository_manifests.id LIMIT $4::BIGINT + 1)
             SELECT digest, media_type, size, artifact_type, annotations, id, (SELECT count(*) FROM fetched)
             FROM fetched WHERE position = 1 OR (position <= $4 AND total <= $5) ORDER BY id"
        )
    };
}

/// A page of all, in the order of the index.
pub(super) const PAGE: &str = page!("");

/// A page of one type, likewise: the index compares types without case.
pub(super) const TYPE_PAGE: &str = page!(" AND lower(repository_manifests.artifact_type) = $7");

pub(super) async fn list(
    connection: &Connection,
    repository: &RepositoryName,
    subject: &Digest,
    artifact_type: Option<&MediaType>,
    page: ReferrersRequest,
) -> Result<Page<Referrer>, Failure> {
    // A page has one entry at least, and one more than it may have is looked at.
    let entries = limit(page.entries).clamp(1, i64::MAX - 1);
    // Row ids begin at 1.
    let after = page.after.map_or(0, |marker| marker.0);
    let (repository, subject, bytes) = (repository.as_str(), DigestColumn(*subject), limit(page.bytes));
    let mut values: Vec<&(dyn ToSql + Sync)> =
        vec![&repository, &subject, &after, &entries, &bytes, &ENTRY_BYTES];
    let artifact_type = artifact_type.map(|wanted| wanted.as_sent().to_ascii_lowercase());
    let rows = match &artifact_type {
        None => connection.rows(PAGE, &values).await?,
        Some(artifact_type) => {
            values.push(artifact_type);
            connection.rows(TYPE_PAGE, &values).await?
        }
    };
    let fetched: i64 = rows.first().map_or(Ok(0), |row| row.try_get(6))?;
    let entries = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(Page { more: fetched > limit(entries.len()), entries })
}

fn read(row: &Row) -> Result<Referrer, Failure> {
    Ok(Referrer {
        digest: row.try_get::<_, DigestColumn>(0)?.0,
        media_type: row.try_get::<_, TextColumn<_>>(1)?.0,
        size: row.try_get::<_, SizeColumn>(2)?.0,
        artifact_type: row.try_get::<_, Option<TextColumn<_>>>(3)?.map(|column| column.0),
        annotations: row.try_get::<_, Option<&str>>(4)?.map(object).transpose()?,
        marker: ReferrerMarker(row.try_get(5)?),
    })
}

/// Text that goes out as it is must at least be an object.
fn object(text: &str) -> Result<Box<RawValue>, MetadataError> {
    let damaged = |reason: String| MetadataError::Damaged { reason };
    if !text.starts_with('{') {
        return Err(damaged("annotations of a manifest are no JSON object".to_owned()));
    }
    RawValue::from_string(text.to_owned()).map_err(|error| damaged(error.to_string()))
}
