//! The server's configuration: one struct, its defaults in one place. It comes from a TOML file, then
//! environment variables, then flags, each over the one before. A key that is not known is refused with the
//! nearest one that is.

mod keys;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use registry_auth::{GITLAB_ISSUER, GITLAB_SERVICE};
use registry_core::Limits;
use registry_http::{HttpSettings, IpNetwork};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use url::Url;

use crate::ServerError;

/// The port of GitLab's bundled registry.
const PORT: u16 = 5050;

/// Who issues the tokens that the registry takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Nobody: every caller may do everything. Only on loopback, unless forced.
    None,
    /// The registry itself, under `/jwt/auth`.
    Token,
    /// A GitLab.
    Gitlab,
}

/// The effective configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder that holds everything the registry keeps.
    pub data: PathBuf,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The URL under which clients reach the registry; it is named in tokens and challenges. Without it each
    /// challenge names the host that the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_url: Option<Url>,
    /// Addresses or networks of the reverse proxies in front of the registry: only what they say of a client's
    /// address, scheme and host (`X-Forwarded-For`, `-Proto`, `-Host`) is believed.
    pub trusted_proxies: Vec<IpNetwork>,
    pub tls: TlsConfig,
    pub auth: AuthConfig,
    pub limits: LimitsConfig,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the server's certificate chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Makes a certificate authority and a certificate in the data folder.
    pub self_signed: bool,
    /// Answers plain HTTP with an explanation only.
    pub required: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    pub mode: AuthMode,
    /// Lets mode `none` listen beyond loopback.
    pub allow_none_anywhere: bool,
    /// The service that tokens are for.
    pub service: String,
    /// The issuer that tokens must name; by default that of the mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Life of a token, in seconds.
    pub token_seconds: u64,
    pub gitlab: GitlabConfig,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct GitlabConfig {
    /// GitLab's token endpoint, such as `https://gitlab.example.com/jwt/auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<Url>,
    /// PEM file with the certificate of the key that GitLab signs tokens with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Largest manifest, in bytes.
    pub manifest_bytes: usize,
    /// Takes image manifests whose blobs are missing.
    pub sparse_manifests: bool,
    /// An upload that nobody touched for this long is removed, in seconds.
    pub upload_idle_seconds: u64,
    /// A request body that is silent for this long is given up, in seconds.
    pub body_idle_seconds: u64,
    /// How long requests may take to end after a stop was asked for, in seconds.
    pub drain_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("slipway-data"),
            listen: SocketAddr::from(([0, 0, 0, 0], PORT)),
            external_url: None,
            trusted_proxies: Vec::new(),
            tls: TlsConfig::default(),
            auth: AuthConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::Token,
            allow_none_anywhere: false,
            // GitLab's names, so that a registry can change sides without new tokens.
            service: GITLAB_SERVICE.to_owned(),
            issuer: None,
            token_seconds: USUAL_TOKEN,
            gitlab: GitlabConfig::default(),
        }
    }
}

impl AuthConfig {
    /// The issuer in force.
    pub fn issuer(&self) -> &str {
        self.issuer.as_deref().unwrap_or(match self.mode {
            AuthMode::Gitlab => GITLAB_ISSUER,
            AuthMode::None | AuthMode::Token => "slipway",
        })
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let (limits, http) = (Limits::default(), HttpSettings::default());
        Self {
            manifest_bytes: limits.manifest_bytes,
            sparse_manifests: limits.sparse_manifests,
            upload_idle_seconds: limits.upload_idle.as_secs(),
            body_idle_seconds: http.body_idle.as_secs(),
            drain_seconds: http.drain.as_secs(),
        }
    }
}

/// Values from flags, by dotted key.
#[derive(Debug, Clone, Default)]
pub struct Overrides(Vec<(&'static str, Value)>);

impl Overrides {
    /// Sets `key` if there is a value.
    pub fn set(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.0.push((key, value.into()));
        }
    }
}

impl Config {
    /// Reads the file if one is named, lays `environment` (variables `SLIPWAY_REGISTRY_...`) and then `flags`
    /// over it, and checks the whole.
    ///
    /// # Errors
    /// [`ServerError::Config`] with the key at fault.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Self, ServerError> {
        let mut table = match file {
            Some(path) => read(path)?,
            None => Table::new(),
        };
        keys::refuse_unknown(&table)?;
        for (key, value) in keys::from_environment(environment)? {
            keys::insert(&mut table, key, value);
        }
        for (key, value) in flags.0 {
            keys::insert(&mut table, key, value);
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| {
            ServerError::Config(format!("configuration: {}", one_line(&error)))
        })?;
        config.check()?;
        Ok(config)
    }

    /// The whole effective configuration as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_default()
    }

    pub fn limits(&self) -> Limits {
        Limits {
            manifest_bytes: self.limits.manifest_bytes,
            sparse_manifests: self.limits.sparse_manifests,
            upload_idle: Duration::from_secs(self.limits.upload_idle_seconds),
        }
    }

    pub fn http_settings(&self) -> HttpSettings {
        HttpSettings {
            body_idle: Duration::from_secs(self.limits.body_idle_seconds),
            drain: Duration::from_secs(self.limits.drain_seconds),
            trusted_proxies: self.trusted_proxies.clone(),
        }
    }

    /// What to tell the operator of a registry that must guess the address of its token server.
    pub(crate) fn guessed_realm(&self) -> Option<String> {
        let guesses = self.auth.mode == AuthMode::Token && self.external_url.is_none();
        if !guesses || self.listen.ip().is_loopback() {
            return None;
        }
        let scheme = if self.has_tls() { "http or https" } else { "http" };
        let proxies = if self.trusted_proxies.is_empty() {
            "; behind a reverse proxy that ends TLS this is wrong until trusted_proxies names it"
        } else {
            ""
        };
        Some(format!(
            "external_url is not set: each client is sent for its token to <the host that it asked for>/jwt/auth, by the scheme that it came with ({scheme}){proxies}; set external_url to the URL that clients use"
        ))
    }

    /// Whether the server will have a certificate.
    pub fn has_tls(&self) -> bool {
        self.tls.self_signed || self.tls.certificate.is_some()
    }

    fn check(&self) -> Result<(), ServerError> {
        let wrong = |message: &str| Err(ServerError::Config(message.to_owned()));
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return wrong("tls.certificate and tls.key go together: give both or neither");
        }
        if self.tls.self_signed && self.tls.certificate.is_some() {
            return wrong("tls.self_signed makes a certificate and tls.certificate names one: choose");
        }
        if self.tls.required && !self.has_tls() {
            return wrong(
                "tls.required needs a certificate: set tls.certificate and tls.key, or tls.self_signed",
            );
        }
        if self.auth.mode == AuthMode::None
            && !self.listen.ip().is_loopback()
            && !self.auth.allow_none_anywhere
        {
            return Err(ServerError::Config(format!(
                "auth.mode none on {} would let everyone push: listen on 127.0.0.1:{}, or set auth.allow_none_anywhere",
                self.listen,
                self.listen.port()
            )));
        }
        if self.auth.mode == AuthMode::Gitlab {
            if self.auth.gitlab.realm.is_none() {
                return wrong("auth.mode gitlab needs auth.gitlab.realm, GitLab's .../jwt/auth");
            }
            if self.auth.gitlab.certificates.is_none() {
                return wrong(
                    "auth.mode gitlab needs auth.gitlab.certificates, GitLab's registry certificate",
                );
            }
        }
        if self.auth.token_seconds < SHORTEST_TOKEN {
            return wrong(
                "auth.token_seconds must be at least 60: clients take shorter lives for 60 seconds",
            );
        }
        if self.auth.token_seconds > LONGEST_TOKEN {
            return wrong("auth.token_seconds must be at most 86400: a replaced key is trusted for a day");
        }
        let realm = self.auth.gitlab.realm.as_ref();
        if realm.is_some_and(|realm| !realm.username().is_empty() || realm.password().is_some()) {
            return wrong("auth.gitlab.realm is shown to every client: take the login out of it");
        }
        if self.limits.manifest_bytes < registry_core::MANIFEST_BYTES {
            return wrong(
                "limits.manifest_bytes must be at least 4194304, which the specification promises to clients",
            );
        }
        if self.limits.body_idle_seconds == 0 || self.limits.upload_idle_seconds == 0 {
            return wrong("limits.body_idle_seconds and limits.upload_idle_seconds must be above zero");
        }
        let longest =
            [self.limits.body_idle_seconds, self.limits.upload_idle_seconds, self.limits.drain_seconds];
        if longest.iter().any(|seconds| *seconds > LONGEST_TIME) {
            return wrong("the times under limits must be at most 315360000 seconds, ten years");
        }
        if self.external_url.as_ref().is_some_and(|url| !is_origin(url)) {
            return wrong(
                "external_url must look like https://host:port, without a path and without a login",
            );
        }
        Ok(())
    }
}

/// The reason with the key that it is about; TOML's own text has a line for each.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Usual life of a token, in seconds: GitLab's own, long enough for a push's next request and short enough that a
/// withdrawn right ends soon.
const USUAL_TOKEN: u64 = 300;

/// A day, in seconds: for so long `slipway registry key rotate` keeps tokens of the old key good.
const LONGEST_TOKEN: u64 = 24 * 3600;

/// Ten years, in seconds: what is longer is a slip, and dates that far back do not exist.
const LONGEST_TIME: u64 = 10 * 365 * 24 * 3600;

/// Whether a URL names scheme, host and port and nothing else: it is shown to every client.
fn is_origin(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.path() == "/"
        && url.query().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// Docker's token specification: clients assume 60 seconds where no life is named.
const SHORTEST_TOKEN: u64 = 60;

fn read(path: &Path) -> Result<Table, ServerError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ServerError::Config(format!("cannot read {}: {error}", path.display())))?;
    text.parse::<Table>()
        .map_err(|error| ServerError::Config(format!("{} is not TOML: {error}", path.display())))
}

#[cfg(test)]
mod tests;
