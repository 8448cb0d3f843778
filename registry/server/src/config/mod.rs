//! The server's configuration: one struct, its defaults in one place. It comes from a TOML file, then
//! environment variables, then flags, each over the one before. A key that is not known is refused with the
//! nearest one that is.

mod check;
mod keys;
mod operation;
mod policies;
mod sections;
mod upstreams;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use registry_core::{Authority, Limits, TagRuleForm};
use registry_http::{HttpSettings, IpNetwork};
use registry_metadata::CollectPolicy;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use url::Url;

pub(crate) use self::operation::*;
pub use self::{policies::*, sections::*, upstreams::UpstreamConfig};
use crate::ServerError;

/// The port of GitLab's bundled registry.
const PORT: u16 = 5050;

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
    pub collection: CollectionConfig,
    pub metadata: MetadataConfig,
    pub blobs: BlobsConfig,
    pub tag_rules: Vec<TagRuleForm>,
    pub quotas: Vec<QuotaConfig>,
    pub retention: Vec<RetentionConfig>,
    pub admin: AdminConfig,
    pub events: EventsConfig,
    /// Registries whose repositories are mirrored here, each below a prefix.
    pub upstreams: Vec<UpstreamConfig>,
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
            collection: CollectionConfig::default(),
            metadata: MetadataConfig::default(),
            blobs: BlobsConfig::default(),
            tag_rules: Vec::new(),
            quotas: Vec::new(),
            retention: Vec::new(),
            admin: AdminConfig::default(),
            events: EventsConfig::default(),
            upstreams: Vec::new(),
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
            layer_bytes: self.limits.layer_bytes.as_ref().map(|bytes| bytes.0.0),
            read_only: self.limits.read_only,
            upload_idle: Duration::from_secs(self.limits.upload_idle_seconds),
            lease: Duration::from_secs(self.collection.lease_seconds),
            collection: CollectPolicy {
                untagged_after: self.collection.untagged_seconds.map(Duration::from_secs),
                referrers_with_subject: self.collection.referrers_with_subject,
            },
            // Rules that are none were refused when the configuration was read.
            tag_rules: self.configured_tag_rules().unwrap_or_default().into(),
            authority: match self.auth.mode {
                AuthMode::None => Authority::Nobody,
                AuthMode::Token => Authority::Accounts,
                AuthMode::Gitlab => Authority::Gitlab,
            },
        }
    }

    pub fn http_settings(&self) -> HttpSettings {
        HttpSettings {
            body_idle: Duration::from_secs(self.limits.body_idle_seconds),
            drain: Duration::from_secs(self.limits.drain_seconds),
            trusted_proxies: self.trusted_proxies.clone(),
            redirects: self.blobs.redirects(),
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
}

/// The reason with the key that it is about; TOML's own text has a line for each.
fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn read(path: &Path) -> Result<Table, ServerError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ServerError::Config(format!("cannot read {}: {error}", path.display())))?;
    text.parse::<Table>().map_err(|error| ServerError::Config(not_toml(path, &text, &error)))
}

/// Tells the place and not the line itself: a secret may stand in it.
fn not_toml(path: &Path, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
    format!("{}, line {line}: this is not TOML: {}", path.display(), error.message())
}

#[cfg(test)]
mod tests;
