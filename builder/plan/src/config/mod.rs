//! The image config: OCI's fields, Docker's additions, and whatever else the base image had.

mod seal;
mod serial;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use registry_types::{Digest, Platform};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use seal::{LayerRecord, SealProblem};
use serial::{is_false, is_zero, or_default};

/// The config blob of an image (OCI image-spec `config.md`). Times are RFC 3339 texts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub config: ContainerConfig,
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Fields of the base image that this type does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a container of the image starts with.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `port/protocol`.
    #[serde(default, with = "serial::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(default, with = "serial::set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Docker's: the words of `Cmd` need no further escaping. Set by `CMD`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker's: triggers for the stages that start from this image.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Docker's: what the shell form runs in; empty for the default.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Fields of the base image that this type does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Docker's health check. Durations in nanoseconds; zero means the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `NONE`, `CMD` and words, or `CMD-SHELL` and a text.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The layers, as digests of their uncompressed bytes from the lowest up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new() }
    }
}

fn layers() -> String {
    "layers".to_owned()
}

/// What one instruction did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// No layer belongs to this entry.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// The search path of an image that sets none.
pub(crate) const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The comment BuildKit puts beside each entry of its history.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

impl ImageConfig {
    /// The config of `FROM scratch`.
    pub fn scratch(platform: &Platform) -> Self {
        let mut config = Self {
            config: ContainerConfig {
                working_dir: "/".to_owned(),
                env: vec![DEFAULT_PATH.to_owned()],
                ..ContainerConfig::default()
            },
            ..Self::default()
        };
        config.set_platform(platform);
        config
    }

    /// Reads a config blob.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The config blob. Equal configs give equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config has string keys only")
    }

    pub fn platform(&self) -> Platform {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: text(&self.os_version),
            os_features: self.os_features.clone(),
            variant: text(&self.variant),
        }
    }

    pub(crate) fn set_platform(&mut self, platform: &Platform) {
        self.architecture.clone_from(&platform.architecture);
        self.os.clone_from(&platform.os);
        self.variant = platform.variant.clone().unwrap_or_default();
        self.os_version = platform.os_version.clone().unwrap_or_default();
        self.os_features.clone_from(&platform.os_features);
    }

    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        let key = |text: &str| text.split('=').next() == Some(name);
        match self.config.env.iter_mut().find(|text| key(text)) {
            Some(old) => *old = pair,
            None => self.config.env.push(pair),
        }
    }

    /// Adds a history entry; a step that makes a layer has one that is not empty.
    pub(crate) fn record(&mut self, created_by: String, layer: bool) {
        self.history.push(History {
            created_by,
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer: !layer,
            ..History::default()
        });
    }
}
