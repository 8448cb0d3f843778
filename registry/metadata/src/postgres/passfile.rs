//! Passwords that are not in the URL: from the environment or a password file of libpq's form.
//!
//! <https://www.postgresql.org/docs/current/libpq-pgpass.html>

use std::{
    env, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio_postgres::{Config, config::Host};

use super::error::unavailable;
use crate::MetadataError;

/// Permissions that let others than the owner read a file.
const OPEN_TO_OTHERS: u32 = 0o077;

/// The password for `config`: `PGPASSWORD`, or from `named`, `PGPASSFILE` or `~/.pgpass`.
pub(super) fn password_blocking(
    config: &Config,
    named: Option<&Path>,
) -> Result<Option<String>, MetadataError> {
    if let Some(password) = env::var("PGPASSWORD").ok().filter(|_| named.is_none()) {
        return Ok(Some(password));
    }
    let told = named.map(Path::to_owned).or_else(|| env::var_os("PGPASSFILE").map(PathBuf::from));
    let path = match &told {
        Some(path) => path.clone(),
        None => match env::var_os("HOME") {
            Some(home) => PathBuf::from(home).join(".pgpass"),
            None => return Ok(None),
        },
    };
    match read_blocking(&path) {
        Ok(text) => Ok(find(&text, config)),
        // Nobody promised that the one in the home folder exists or is ours.
        Err(_) if told.is_none() => Ok(None),
        Err(reason) => Err(unavailable(format!("the password file {}: {reason}", path.display()))),
    }
}

fn read_blocking(path: &Path) -> Result<String, String> {
    let said = |error: io::Error| format!("it cannot be read: {error}");
    let mode = fs::metadata(path).map_err(said)?.permissions().mode();
    if mode & OPEN_TO_OTHERS != 0 {
        return Err("others than its owner may read it: chmod 600 it".to_owned());
    }
    fs::read_to_string(path).map_err(said)
}

/// The password of the first line that fits: host:port:database:user:password, where `*` fits everything and a
/// backslash stands before a colon or backslash that is meant.
fn find(text: &str, config: &Config) -> Option<String> {
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line).into_iter();
        let (host, port, line_database, line_user, password) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let fits = |field: &str, value: &str| field == "*" || field == value;
        let fits_server = servers(config).iter().any(|(server, at)| fits(&host, server) && fits(&port, at));
        (fits_server && fits(&line_database, database) && fits(&line_user, user)).then_some(password)
    })
}

/// Hosts and ports that the configuration may connect to; a socket counts as localhost.
fn servers(config: &Config) -> Vec<(String, String)> {
    let ports = config.get_ports();
    let port = |index: usize| ports.get(index).or(ports.first()).copied().unwrap_or(5432).to_string();
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(_) => "localhost".to_owned(),
    });
    hosts.enumerate().map(|(index, host)| (host, port(index))).collect()
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let field = fields.last_mut();
        match (character, field) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(characters.next()),
            (other, Some(field)) => field.push(other),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment:1:2:3:4\n\
        db.example.com:5432:registry:slipway:first\n\
        *:6432:*:slipway:with\\:colon and \\\\\n\
        localhost:*:*:other:third\n\
        too:short\n";

    fn found(url: &str) -> Option<String> {
        find(FILE, &url.parse().unwrap())
    }

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        assert_eq!(found("postgres://slipway@db.example.com/registry").as_deref(), Some("first"));
        assert_eq!(found("postgres://slipway@db.example.com/else"), None);
        assert_eq!(found("postgres://slipway@any:6432/else").as_deref(), Some("with:colon and \\"));
        assert_eq!(found("postgres://other@%2Frun%2Fpostgresql/x").as_deref(), Some("third"));
        assert_eq!(found("postgres://other@a,localhost/x").as_deref(), Some("third"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords");
        fs::write(&path, "*:*:*:*:pass-phrase").unwrap();
        let config: Config = "postgres://slipway@localhost/x".parse().unwrap();
        let read = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            password_blocking(&config, Some(&path)).map_err(|error| error.to_string())
        };
        assert_eq!(read(0o600).unwrap().as_deref(), Some("pass-phrase"));
        let refused = read(0o640).unwrap_err();
        assert!(refused.contains("chmod 600") && !refused.contains("pass-phrase"), "{refused}");
        let missing = password_blocking(&config, Some(&folder.path().join("none")));
        assert!(missing.is_err());
    }
}
