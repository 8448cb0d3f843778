//! Secrets.

use super::{connection::Connection, error::Failure};

pub(super) async fn find(connection: &Connection, name: &str) -> Result<Option<String>, Failure> {
    let row = connection.row("SELECT value FROM secrets WHERE name = $1", &[&name]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// One statement decides: two replicas that start at once agree on the secret of the first.
pub(super) async fn put(
    connection: &Connection,
    name: &str,
    before: Option<&str>,
    value: &str,
) -> Result<bool, Failure> {
    let stored = match before {
        None => {
            let insert = "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
            connection.execute(insert, &[&name, &value]).await?
        }
        Some(before) => {
            let update = "UPDATE secrets SET value = $2 WHERE name = $1 AND value = $3";
            connection.execute(update, &[&name, &value, &before]).await?
        }
    };
    Ok(stored > 0)
}
