//! Where the database is and how much of it to use. The address is a URL as libpq reads it; what could show the
//! password prints nothing.
//!
//! TLS: a server that is not this machine must show a certificate that is verified, unless the URL says
//! `sslmode=disable`. Modes that only encrypt, towards whoever answers, are refused: they look safer than they are.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

use super::{error::unavailable, passfile, tls::TlsConnector};
use crate::MetadataError;

/// Connections of one server: each is a process of the database, and a hundred, its default limit, must do for
/// all replicas. Sixteen transactions at once keep the database's log busy.
pub const POSTGRES_CONNECTIONS: usize = 16;

/// Holds about 8,000 ordinary manifests.
const DEFAULT_CONTENT_CACHE_BYTES: usize = 16 << 20;

/// Every query of ours reads an index and takes milliseconds; one that takes this long will not end soon.
const DEFAULT_STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the database, and limits.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) config: Config,
    pub(super) tls: TlsConnector,
    /// Most connections at once; at least one.
    pub connections: usize,
    /// Most memory that manifests' bytes take, in bytes; zero caches nothing.
    pub content_cache_bytes: usize,
    /// How long one statement may take.
    pub statement_timeout: Duration,
    /// Whether to bring an older schema forward; otherwise it is refused.
    pub migrate: bool,
}

impl fmt::Debug for PostgresOptions {
    /// Leaves the address out: it may hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("database", &self.config.get_dbname())
            .field("connections", &self.connections)
            .field("content_cache_bytes", &self.content_cache_bytes)
            .field("statement_timeout", &self.statement_timeout)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// Reads `postgres://user:password@host:port/database?...`, several hosts parted by commas. Besides what the
    /// driver knows (`host`, `connect_timeout`, `options`, ...) the query may hold `sslmode` (`disable`, `require`,
    /// `verify-ca` or `verify-full`, of which the last three verify everything), `sslrootcert` (a file; else the
    /// system's roots) and `passfile`. A password that is not in the URL comes from `PGPASSWORD`, or from the file
    /// that `passfile` or `PGPASSFILE` names, or from `~/.pgpass`. Reads those files.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] that says what is wrong with the URL, without repeating it.
    pub fn from_url_blocking(url: &str) -> Result<Self, MetadataError> {
        let (rest, own) = split(url)?;
        let mut config: Config = rest.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            unavailable(format!("the database's URL cannot be read: {cause}"))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(unavailable("the database's URL names no host"));
        }
        let tls = match ssl_mode(&config, own.ssl_mode.as_deref())? {
            SslMode::Disable => {
                config.ssl_mode(SslMode::Disable);
                TlsConnector::unused()
            }
            mode => {
                config.ssl_mode(mode);
                TlsConnector::from_roots_blocking(own.root_certificates.as_deref())?
            }
        };
        if config.get_password().is_none()
            && let Some(password) = passfile::password_blocking(&config, own.pass_file.as_deref())?
        {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("slipway");
        }
        Ok(Self {
            config,
            tls,
            connections: POSTGRES_CONNECTIONS,
            content_cache_bytes: DEFAULT_CONTENT_CACHE_BYTES,
            statement_timeout: DEFAULT_STATEMENT_TIMEOUT,
            migrate: true,
        })
    }
}

/// Parameters of the URL that the driver does not know or takes another way.
#[derive(Default)]
struct Own {
    ssl_mode: Option<String>,
    root_certificates: Option<PathBuf>,
    pass_file: Option<PathBuf>,
}

/// The URL without our own parameters, and those.
fn split(url: &str) -> Result<(String, Own), MetadataError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(unavailable("the database's URL must begin with postgres:// or postgresql://"));
    }
    let mut own = Own::default();
    let Some((address, query)) = url.split_once('?') else { return Ok((url.to_owned(), own)) };
    let mut others = Vec::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = || percent_decode_str(value).decode_utf8_lossy().into_owned();
        match name {
            "sslmode" => own.ssl_mode = Some(decoded()),
            "sslrootcert" => own.root_certificates = Some(decoded().into()),
            "passfile" => own.pass_file = Some(decoded().into()),
            _ => others.push(pair),
        }
    }
    let url = if others.is_empty() { address.to_owned() } else { format!("{address}?{}", others.join("&")) };
    Ok((url, own))
}

fn ssl_mode(config: &Config, asked: Option<&str>) -> Result<SslMode, MetadataError> {
    match asked {
        Some("disable") => Ok(SslMode::Disable),
        Some("require" | "verify-ca" | "verify-full") => Ok(SslMode::Require),
        Some("allow" | "prefer") => Err(unavailable(
            "sslmode=allow and sslmode=prefer protect from nobody: use verify-full (with sslrootcert=FILE for a \
             root of your own), or disable on a network that is yours",
        )),
        Some(other) => Err(unavailable(format!(
            "sslmode={other} is unknown: use disable, require, verify-ca or verify-full"
        ))),
        None if is_this_machine(config) => Ok(SslMode::Disable),
        None => Ok(SslMode::Require),
    }
}

/// Whether bytes to the database stay on this machine.
fn is_this_machine(config: &Config) -> bool {
    let is_loopback =
        |host: &str| host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    // Addresses, where given, are what is connected to.
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(host) => is_loopback(host),
        Host::Unix(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> Result<SslMode, String> {
        let options = PostgresOptions::from_url_blocking(url).map_err(|error| error.to_string())?;
        Ok(options.config.get_ssl_mode())
    }

    #[test]
    fn what_leaves_the_machine_is_verified_unless_told_otherwise() {
        for here in ["localhost", "127.0.0.1", "%2Frun%2Fpostgresql"] {
            assert_eq!(mode(&format!("postgres://user:x@{here}/db")), Ok(SslMode::Disable), "{here}");
        }
        for there in ["db.example.com", "localhost,db.example.com", "192.0.2.1"] {
            assert_eq!(mode(&format!("postgres://user:x@{there}/db")), Ok(SslMode::Require), "{there}");
        }
        assert_eq!(mode("postgres://user:x@db.example.com/db?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(mode("postgres://user:x@localhost/db?sslmode=verify-full"), Ok(SslMode::Require));
        let refused = mode("postgres://user:x@localhost/db?sslmode=prefer").unwrap_err();
        assert!(refused.contains("verify-full"), "{refused}");
        assert!(mode("postgres://user:x@localhost/db?sslmode=full").is_err());
    }

    #[test]
    fn a_url_that_cannot_be_read_is_refused_without_its_password() {
        for url in [
            "mysql://user:secret-word@localhost/db",
            "postgres://user:secret-word@localhost:port/db",
            "postgres://user:secret-word@localhost/db?colour=red",
            "postgres://user:secret-word@localhost/db?sslmode=require&sslrootcert=/nonexistent",
            "postgres:///db",
        ] {
            let error = PostgresOptions::from_url_blocking(url).unwrap_err().to_string();
            assert!(!error.contains("secret-word"), "{error}");
        }
    }

    #[test]
    fn nothing_printed_holds_the_password() {
        let url = "postgres://user:secret-word@localhost/db?application_name=other";
        let options = PostgresOptions::from_url_blocking(url).unwrap();
        assert_eq!(options.config.get_password(), Some(&b"secret-word"[..]));
        assert_eq!(options.config.get_application_name(), Some("other"));
        assert!(!format!("{options:?}").contains("secret-word"));
    }
}
