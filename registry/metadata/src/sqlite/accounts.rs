//! Accounts and rules. Another process may change them while the server runs, so they are read from the database
//! each time; rules are kept as long as nobody changes them.

use std::sync::Arc;

use registry_types::{AccessRule, AccountKind, AccountName, ActionSet, Subject};
use rusqlite::{
    Connection, OptionalExtension, Row, params,
    types::{FromSql, FromSqlError, FromSqlResult, ValueRef},
};

use super::{
    columns::{TextColumn, TimeColumn},
    revisions::Revised,
};
use crate::{AccountRecord, MetadataError, RuleRecord};

struct KindColumn(AccountKind);

fn kind_name(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::User => "user",
        AccountKind::Robot => "robot",
    }
}

impl FromSql for KindColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        [AccountKind::User, AccountKind::Robot]
            .into_iter()
            .find(|kind| kind_name(*kind) == name)
            .map(Self)
            .ok_or_else(|| FromSqlError::Other(format!("{name:?} is no kind of account").into()))
    }
}

/// Actions as `pull,push`; none at all as the empty text, which the list form cannot say.
struct ActionsColumn(ActionSet);

impl FromSql for ActionsColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "" => Ok(Self(ActionSet::NONE)),
            text => text.parse().map(Self).map_err(FromSqlError::other),
        }
    }
}

pub(super) fn find(
    connection: &Connection,
    name: &AccountName,
) -> Result<Option<AccountRecord>, MetadataError> {
    let mut statement = connection.prepare_cached(
        "SELECT name, kind, admin, password_hash, created_at FROM accounts WHERE name = ?1",
    )?;
    Ok(statement.query_row([name.as_str()], read_account).optional()?)
}

pub(super) fn list(connection: &Connection) -> Result<Vec<AccountRecord>, MetadataError> {
    let mut statement = connection
        .prepare_cached("SELECT name, kind, admin, password_hash, created_at FROM accounts ORDER BY name")?;
    let rows = statement.query_map([], read_account)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read_account(row: &Row<'_>) -> rusqlite::Result<AccountRecord> {
    Ok(AccountRecord {
        name: row.get::<_, TextColumn<_>>(0)?.0,
        kind: row.get::<_, KindColumn>(1)?.0,
        admin: row.get(2)?,
        password_hash: row.get(3)?,
        created_at: row.get::<_, TimeColumn>(4)?.0,
    })
}

pub(super) fn put(
    connection: &Connection,
    account: &AccountRecord,
    replace: bool,
) -> Result<(), MetadataError> {
    let conflict = if replace {
        "ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, admin = excluded.admin,
             password_hash = excluded.password_hash, created_at = excluded.created_at"
    } else {
        "ON CONFLICT DO NOTHING"
    };
    let stored = connection
        .prepare_cached(&format!(
            "INSERT INTO accounts (name, kind, admin, password_hash, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
             {conflict}"
        ))?
        .execute(params![
            account.name.as_str(),
            kind_name(account.kind),
            account.admin,
            account.password_hash,
            TimeColumn(account.created_at),
        ])?;
    if stored == 0 {
        return Err(MetadataError::AlreadyExists { what: format!("the account {}", account.name) });
    }
    Ok(())
}

pub(super) fn delete(connection: &Connection, name: &AccountName) -> Result<bool, MetadataError> {
    let subject = TextColumn(Subject::Account(name.clone()));
    connection.prepare_cached("DELETE FROM rules WHERE subject = ?1")?.execute([subject])?;
    let removed =
        connection.prepare_cached("DELETE FROM accounts WHERE name = ?1")?.execute([name.as_str()])?;
    Ok(removed > 0)
}

/// The rules in the order they were added.
pub(super) fn rules(
    connection: &Connection,
    cache: &Revised<Vec<RuleRecord>>,
) -> Result<Arc<Vec<RuleRecord>>, MetadataError> {
    cache.read(connection, "SELECT revision FROM rules_revision", |connection| {
        connection
            .prepare_cached("SELECT id, subject, pattern, actions FROM rules ORDER BY id")?
            .query_map([], read_rule)?
            .collect()
    })
}

fn read_rule(row: &Row<'_>) -> rusqlite::Result<RuleRecord> {
    Ok(RuleRecord {
        id: row.get(0)?,
        rule: AccessRule {
            subject: row.get::<_, TextColumn<_>>(1)?.0,
            pattern: row.get::<_, TextColumn<_>>(2)?.0,
            actions: row.get::<_, ActionsColumn>(3)?.0,
        },
    })
}

pub(super) fn add_rule(connection: &Connection, rule: &AccessRule) -> Result<RuleRecord, MetadataError> {
    connection
        .prepare_cached("INSERT INTO rules (subject, pattern, actions) VALUES (?1, ?2, ?3)")?
        .execute(params![TextColumn(&rule.subject), rule.pattern.as_str(), TextColumn(rule.actions)])?;
    Ok(RuleRecord { id: connection.last_insert_rowid(), rule: rule.clone() })
}

pub(super) fn delete_rule(connection: &Connection, id: i64) -> Result<bool, MetadataError> {
    Ok(connection.prepare_cached("DELETE FROM rules WHERE id = ?1")?.execute([id])? > 0)
}
