//! Tag rules, retention policies, and the times of pulls.

use registry_types::{Digest, RepositoryName, Subject};
use time::OffsetDateTime;
use tokio_postgres::Row;

use super::{
    columns::{DigestColumn, TextColumn, TimeColumn},
    connection::Connection,
    error::Failure,
};
use crate::{MetadataError, NewRetention, RetentionRecord, TagEffect, TagRule, TagRuleRecord};

/// The tag rules in the order they were added.
pub(super) const TAG_RULES: &str = "SELECT revision, id, repositories, tags, effect, allowed
     FROM revisions LEFT JOIN tag_rules ON TRUE WHERE name = 'tag_rules' ORDER BY id";

/// `None` for the one row of no rules at all.
pub(super) fn read_tag_rule(row: &Row) -> Result<Option<TagRuleRecord>, Failure> {
    let Some(id) = row.try_get(1)? else { return Ok(None) };
    let (effect, allowed): (&str, &str) = (row.try_get(4)?, row.try_get(5)?);
    let effect = match effect {
        "protected" => TagEffect::Protected { allowed: read_subjects(allowed)? },
        "immutable" => TagEffect::Immutable,
        other => {
            let reason = format!("{other:?} is no effect of a tag rule");
            return Err(MetadataError::Damaged { reason }.into());
        }
    };
    let (TextColumn(repositories), TextColumn(tags)) = (row.try_get(2)?, row.try_get(3)?);
    Ok(Some(TagRuleRecord { id, rule: TagRule { repositories, tags, effect } }))
}

fn read_subjects(text: &str) -> Result<Vec<Subject>, MetadataError> {
    let subjects = text.split(',').filter(|subject| !subject.is_empty()).map(str::parse);
    subjects
        .collect::<Result<_, registry_types::ParseError>>()
        .map_err(|error| MetadataError::Damaged { reason: error.to_string() })
}

pub(super) async fn add_tag_rule(connection: &Connection, rule: &TagRule) -> Result<TagRuleRecord, Failure> {
    let (effect, allowed) = match &rule.effect {
        TagEffect::Protected { allowed } => {
            ("protected", allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        }
        TagEffect::Immutable => ("immutable", String::new()),
    };
    let row = connection
        .one(
            "INSERT INTO tag_rules (repositories, tags, effect, allowed) VALUES ($1, $2, $3, $4) RETURNING id",
            &[&TextColumn(&rule.repositories), &TextColumn(&rule.tags), &effect, &allowed],
        )
        .await?;
    Ok(TagRuleRecord { id: row.try_get(0)?, rule: rule.clone() })
}

pub(super) async fn delete_tag_rule(connection: &Connection, id: i64) -> Result<bool, Failure> {
    Ok(connection.execute("DELETE FROM tag_rules WHERE id = $1", &[&id]).await? > 0)
}

/// In the order they were added.
pub(super) async fn retentions(connection: &Connection) -> Result<Vec<RetentionRecord>, Failure> {
    let rows = connection
        .rows("SELECT id, prefix, rule, schedule, started_at FROM retentions ORDER BY id", &[])
        .await?;
    let read = |row: &Row| {
        let TextColumn(prefix) = row.try_get(1)?;
        Ok(RetentionRecord {
            id: row.try_get(0)?,
            policy: NewRetention { prefix, rule: row.try_get(2)?, schedule: row.try_get(3)? },
            started_at: row.try_get::<_, Option<TimeColumn>>(4)?.map(|column| column.0),
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn add_retention(
    connection: &Connection,
    policy: &NewRetention,
) -> Result<RetentionRecord, Failure> {
    let row = connection
        .one(
            "INSERT INTO retentions (prefix, rule, schedule) VALUES ($1, $2, $3) RETURNING id",
            &[&TextColumn(&policy.prefix), &policy.rule, &policy.schedule],
        )
        .await?;
    Ok(RetentionRecord { id: row.try_get(0)?, policy: policy.clone(), started_at: None })
}

pub(super) async fn delete_retention(connection: &Connection, id: i64) -> Result<bool, Failure> {
    Ok(connection.execute("DELETE FROM retentions WHERE id = $1", &[&id]).await? > 0)
}

/// Of two replicas that begin at once, the later sees the time of the earlier and does not.
pub(super) async fn start_retention(
    connection: &Connection,
    id: i64,
    last: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<bool, Failure> {
    let started = connection
        .execute(
            "UPDATE retentions SET started_at = $3 WHERE id = $1 AND started_at IS NOT DISTINCT FROM $2",
            &[&id, &last.map(TimeColumn), &TimeColumn(now)],
        )
        .await?;
    Ok(started > 0)
}

/// Twice the same is the same. Rows are locked in the order of their ids: the batches of two replicas meet often.
pub(super) async fn record_pulls(
    connection: &Connection,
    pulls: &[(RepositoryName, Digest, OffsetDateTime)],
) -> Result<(), Failure> {
    let repositories: Vec<&str> = pulls.iter().map(|(repository, _, _)| repository.as_str()).collect();
    let digests: Vec<DigestColumn> = pulls.iter().map(|(_, digest, _)| DigestColumn(*digest)).collect();
    let times: Vec<TimeColumn> = pulls.iter().map(|(_, _, at)| TimeColumn(*at)).collect();
    connection
        .execute(
            "WITH pulls AS (
                 SELECT repository, digest, max(pulled_at) AS pulled_at
                 FROM unnest($1::TEXT[], $2::BYTEA[], $3::BIGINT[]) pull (repository, digest, pulled_at)
                 GROUP BY repository, digest),
             locked AS (
                 SELECT repository_manifests.id, pulls.pulled_at FROM pulls
                 JOIN repositories ON repositories.name = pulls.repository
                 JOIN manifests ON manifests.digest = pulls.digest
                 JOIN repository_manifests ON repository_manifests.repository_id = repositories.id
                      AND repository_manifests.manifest_id = manifests.id
                 ORDER BY repository_manifests.id FOR NO KEY UPDATE OF repository_manifests)
             UPDATE repository_manifests SET pulled_at = locked.pulled_at FROM locked
             WHERE repository_manifests.id = locked.id
               AND coalesce(repository_manifests.pulled_at < locked.pulled_at, TRUE)",
            &[&repositories, &digests, &times],
        )
        .await?;
    Ok(())
}
