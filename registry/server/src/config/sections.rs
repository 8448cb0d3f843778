//! The sections of the configuration, each with its defaults.

use std::path::PathBuf;

use registry_auth::{GITLAB_ISSUER, GITLAB_SERVICE};
use registry_blobs::ObjectOptions;
use registry_core::{ByteSize, Limits, Text};
use registry_http::{HttpSettings, Redirects};
use serde::{Deserialize, Serialize};
use url::Url;

/// Usual life of a token, in seconds: GitLab's own, long enough for a push's next request and short enough that a
/// withdrawn right ends soon.
const USUAL_TOKEN: u64 = 300;

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
    /// Largest layer, such as `10GiB`; without it any is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer_bytes: Option<Text<ByteSize>>,
    /// Refuses pushes and deletes; pulls go on.
    pub read_only: bool,
    /// An upload that nobody touched for this long is removed, in seconds.
    pub upload_idle_seconds: u64,
    /// A request body that is silent for this long is given up, in seconds.
    pub body_idle_seconds: u64,
    /// How long requests may take to end after a stop was asked for, in seconds.
    pub drain_seconds: u64,
}

/// What garbage collection, which is always on, leaves alone and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectionConfig {
    /// What was pushed, mounted or asked for stays for so long though nothing refers to it, in seconds.
    pub lease_seconds: u64,
    /// A manifest goes so long after it lost its last tag, or was pushed without one, in seconds. Without it such
    /// manifests stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged_seconds: Option<u64>,
    /// Referrers (signatures, attestations) go when their subject is deleted.
    pub referrers_with_subject: bool,
}

impl Default for CollectionConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            lease_seconds: limits.lease.as_secs(),
            untagged_seconds: None,
            referrers_with_subject: limits.collection.referrers_with_subject,
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
            layer_bytes: None,
            read_only: limits.read_only,
            upload_idle_seconds: limits.upload_idle.as_secs(),
            body_idle_seconds: http.body_idle.as_secs(),
            drain_seconds: http.drain.as_secs(),
        }
    }
}

/// Where the metadata are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataConfig {
    /// A PostgreSQL database, which several replicas may share, such as `postgres://slipway@database/slipway`; the
    /// password may come from `PGPASSWORD` or a file that `passfile` names. Without it, SQLite in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<DatabaseUrl>,
    /// Most connections to the database at once.
    pub connections: usize,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self { url: None, connections: registry_metadata::POSTGRES_CONNECTIONS }
    }
}

/// The URL of a database. It may hold a password, so it is never shown whole.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL with its password.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Without login and parameters, of which one may be a password.
    fn shown(&self) -> String {
        let address = self.0.split('?').next().unwrap_or_default();
        match address.split_once("://") {
            Some((scheme, rest)) => {
                let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
                format!("{scheme}://{place}")
            }
            None => "a URL without a scheme".to_owned(),
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown())
    }
}

/// Where the bytes of blobs are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlobsConfig {
    /// An object store, which several replicas may share, such as `s3://bucket/folder`; also `gs://` and `az://`. Its
    /// credentials come from where the provider's own tools take them, such as `AWS_ACCESS_KEY_ID`. Without it,
    /// files in the data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The object store's server, if it is not the provider's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Url>,
    /// S3's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Lets the endpoint be plain HTTP.
    pub allow_http: bool,
    /// Most bytes of uploads in memory on their way to the object store.
    pub memory_bytes: usize,
    /// Sends clients to the object store for a blob's bytes.
    pub redirect: bool,
    /// Clients that get the bytes from here all the same: addresses, networks, or beginnings of a `User-Agent`.
    pub redirect_except: Vec<String>,
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            region: None,
            allow_http: false,
            memory_bytes: registry_blobs::UPLOAD_MEMORY,
            redirect: false,
            redirect_except: Vec::new(),
        }
    }
}

impl BlobsConfig {
    /// The object store, if there is one.
    pub(crate) fn options(&self) -> Option<ObjectOptions> {
        let url = self.url.clone()?;
        Some(ObjectOptions {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            allow_http: self.allow_http,
            memory: self.memory_bytes,
            ..ObjectOptions::at(url)
        })
    }

    pub(crate) fn redirects(&self) -> Redirects {
        let except = self.redirect_except.iter().filter_map(|text| text.parse().ok());
        Redirects { enabled: self.redirect, except: except.collect() }
    }
}
