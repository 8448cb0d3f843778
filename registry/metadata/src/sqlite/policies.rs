//! Tag rules, retention policies, and the times of pulls.

use std::sync::Arc;

use registry_types::{Digest, RepositoryName, Subject};
use rusqlite::{
    Connection, Row, params,
    types::{FromSql, FromSqlError, FromSqlResult, ValueRef},
};
use time::OffsetDateTime;

use super::{
    columns::{DigestColumn, TextColumn, TimeColumn},
    revisions::Revised,
};
use crate::{MetadataError, NewRetention, RetentionRecord, TagEffect, TagRule, TagRuleRecord};

/// Those a protection lets through, joined by commas; no name of an account has one.
struct AllowedColumn(Vec<Subject>);

impl FromSql for AllowedColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let names = value.as_str()?.split(',').filter(|name| !name.is_empty());
        names.map(|name| name.parse().map_err(FromSqlError::other)).collect::<Result<_, _>>().map(Self)
    }
}

pub(super) fn tag_rules(
    connection: &Connection,
    cache: &Revised<Vec<TagRuleRecord>>,
) -> Result<Arc<Vec<TagRuleRecord>>, MetadataError> {
    cache.read(connection, "SELECT revision FROM tag_rules_revision", |connection| {
        connection
            .prepare_cached("SELECT id, repositories, tags, effect, allowed FROM tag_rules ORDER BY id")?
            .query_map([], read_tag_rule)?
            .collect()
    })
}

fn read_tag_rule(row: &Row<'_>) -> rusqlite::Result<TagRuleRecord> {
    let effect = match row.get_ref(3)?.as_str()? {
        "immutable" => TagEffect::Immutable,
        _ => TagEffect::Protected { allowed: row.get::<_, AllowedColumn>(4)?.0 },
    };
    Ok(TagRuleRecord {
        id: row.get(0)?,
        rule: TagRule {
            repositories: row.get::<_, TextColumn<_>>(1)?.0,
            tags: row.get::<_, TextColumn<_>>(2)?.0,
            effect,
        },
    })
}

pub(super) fn add_tag_rule(connection: &Connection, rule: &TagRule) -> Result<TagRuleRecord, MetadataError> {
    let (effect, allowed) = match &rule.effect {
        TagEffect::Immutable => ("immutable", String::new()),
        TagEffect::Protected { allowed } => {
            let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            ("protected", names.join(","))
        }
    };
    connection
        .prepare_cached(
            "INSERT INTO tag_rules (repositories, tags, effect, allowed) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![rule.repositories.as_str(), rule.tags.as_str(), effect, allowed])?;
    Ok(TagRuleRecord { id: connection.last_insert_rowid(), rule: rule.clone() })
}

pub(super) fn delete_tag_rule(connection: &Connection, id: i64) -> Result<bool, MetadataError> {
    Ok(connection.prepare_cached("DELETE FROM tag_rules WHERE id = ?1")?.execute([id])? > 0)
}

pub(super) fn retentions(connection: &Connection) -> Result<Vec<RetentionRecord>, MetadataError> {
    let mut statement = connection
        .prepare_cached("SELECT id, prefix, rule, schedule, started_at FROM retentions ORDER BY id")?;
    let read = |row: &Row<'_>| {
        Ok(RetentionRecord {
            id: row.get(0)?,
            policy: NewRetention {
                prefix: row.get::<_, TextColumn<_>>(1)?.0,
                rule: row.get(2)?,
                schedule: row.get(3)?,
            },
            started_at: row.get::<_, Option<TimeColumn>>(4)?.map(|column| column.0),
        })
    };
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn add_retention(
    connection: &Connection,
    policy: &NewRetention,
) -> Result<RetentionRecord, MetadataError> {
    connection
        .prepare_cached("INSERT INTO retentions (prefix, rule, schedule) VALUES (?1, ?2, ?3)")?
        .execute(params![TextColumn(&policy.prefix), policy.rule, policy.schedule])?;
    Ok(RetentionRecord { id: connection.last_insert_rowid(), policy: policy.clone(), started_at: None })
}

pub(super) fn delete_retention(connection: &Connection, id: i64) -> Result<bool, MetadataError> {
    Ok(connection.prepare_cached("DELETE FROM retentions WHERE id = ?1")?.execute([id])? > 0)
}

pub(super) fn start_retention(
    connection: &Connection,
    id: i64,
    last: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<bool, MetadataError> {
    let started = connection
        .prepare_cached("UPDATE retentions SET started_at = ?3 WHERE id = ?1 AND started_at IS ?2")?
        .execute(params![id, last.map(TimeColumn), TimeColumn(now)])?;
    Ok(started > 0)
}

pub(super) const RECORD_PULL: &str = "UPDATE repository_manifests SET pulled_at = ?3
     WHERE repository_id = (SELECT id FROM repositories WHERE name = ?1)
       AND manifest_id IN (SELECT id FROM manifests WHERE digest = ?2)
       AND (pulled_at IS NULL OR pulled_at < ?3)";

pub(super) fn record_pulls(
    connection: &Connection,
    pulls: &[(RepositoryName, Digest, OffsetDateTime)],
) -> Result<(), MetadataError> {
    let mut statement = connection.prepare_cached(RECORD_PULL)?;
    for (repository, digest, at) in pulls {
        statement.execute(params![repository.as_str(), DigestColumn(*digest), TimeColumn(*at)])?;
    }
    Ok(())
}
