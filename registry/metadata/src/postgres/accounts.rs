//! Accounts and rules. Any replica may change them, so they are read from the database each time.

use registry_types::{AccessRule, AccountKind, AccountName, ActionSet, Subject};
use tokio_postgres::Row;

use super::{
    columns::{TextColumn, TimeColumn},
    connection::Connection,
    error::Failure,
};
use crate::{AccountRecord, MetadataError, RuleRecord};

/// The rules in the order they were added.
pub(super) const RULES: &str = "SELECT revision, id, subject, pattern, actions
     FROM revisions LEFT JOIN rules ON TRUE WHERE name = 'rules' ORDER BY id";

fn kind_name(kind: AccountKind) -> &'static str {
    match kind {
        AccountKind::User => "user",
        AccountKind::Robot => "robot",
    }
}

fn kind_of(name: &str) -> Result<AccountKind, MetadataError> {
    [AccountKind::User, AccountKind::Robot]
        .into_iter()
        .find(|kind| kind_name(*kind) == name)
        .ok_or_else(|| MetadataError::Damaged { reason: format!("{name:?} is no kind of account") })
}

/// Actions as `pull,push`; none at all as the empty text, which the list form cannot say.
fn actions_of(text: &str) -> Result<ActionSet, MetadataError> {
    match text {
        "" => Ok(ActionSet::NONE),
        text => text.parse().map_err(|error: registry_types::ParseError| MetadataError::Damaged {
            reason: error.to_string(),
        }),
    }
}

pub(super) async fn find(
    connection: &Connection,
    name: &AccountName,
) -> Result<Option<AccountRecord>, Failure> {
    let row = connection
        .row(
            "SELECT name, kind, admin, password_hash, created_at FROM accounts WHERE name = $1",
            &[&name.as_str()],
        )
        .await?;
    row.as_ref().map(read_account).transpose()
}

pub(super) async fn list(connection: &Connection) -> Result<Vec<AccountRecord>, Failure> {
    let rows = connection
        .rows("SELECT name, kind, admin, password_hash, created_at FROM accounts ORDER BY name", &[])
        .await?;
    rows.iter().map(read_account).collect()
}

fn read_account(row: &Row) -> Result<AccountRecord, Failure> {
    Ok(AccountRecord {
        name: row.try_get::<_, TextColumn<_>>(0)?.0,
        kind: kind_of(row.try_get(1)?)?,
        admin: row.try_get(2)?,
        password_hash: row.try_get(3)?,
        created_at: row.try_get::<_, TimeColumn>(4)?.0,
    })
}

pub(super) async fn put(
    connection: &Connection,
    account: &AccountRecord,
    replace: bool,
) -> Result<(), Failure> {
    let stored = connection
        .execute(
            "INSERT INTO accounts (name, kind, admin, password_hash, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, admin = excluded.admin,
                 password_hash = excluded.password_hash, created_at = excluded.created_at
             WHERE $6",
            &[
                &account.name.as_str(),
                &kind_name(account.kind),
                &account.admin,
                &account.password_hash,
                &TimeColumn(account.created_at),
                &replace,
            ],
        )
        .await?;
    if stored == 0 {
        return Err(MetadataError::AlreadyExists { what: format!("the account {}", account.name) }.into());
    }
    Ok(())
}

pub(super) async fn delete(connection: &Connection, name: &AccountName) -> Result<bool, Failure> {
    let subject = TextColumn(Subject::Account(name.clone()));
    connection.execute("DELETE FROM rules WHERE subject = $1", &[&subject]).await?;
    Ok(connection.execute("DELETE FROM accounts WHERE name = $1", &[&name.as_str()]).await? > 0)
}

/// `None` for the one row of no rules at all.
pub(super) fn read_rule(row: &Row) -> Result<Option<RuleRecord>, Failure> {
    let Some(id) = row.try_get(1)? else { return Ok(None) };
    let rule = AccessRule {
        subject: row.try_get::<_, TextColumn<_>>(2)?.0,
        pattern: row.try_get::<_, TextColumn<_>>(3)?.0,
        actions: actions_of(row.try_get(4)?)?,
    };
    Ok(Some(RuleRecord { id, rule }))
}

pub(super) async fn add_rule(connection: &Connection, rule: &AccessRule) -> Result<RuleRecord, Failure> {
    let row = connection
        .one(
            "INSERT INTO rules (subject, pattern, actions) VALUES ($1, $2, $3) RETURNING id",
            &[&TextColumn(&rule.subject), &rule.pattern.as_str(), &TextColumn(rule.actions)],
        )
        .await?;
    Ok(RuleRecord { id: row.try_get(0)?, rule: rule.clone() })
}

pub(super) async fn delete_rule(connection: &Connection, id: i64) -> Result<bool, Failure> {
    Ok(connection.execute("DELETE FROM rules WHERE id = $1", &[&id]).await? > 0)
}
