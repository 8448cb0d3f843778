//! The registries that are mirrored: `[[upstreams]]` in the configuration file.

use std::{collections::BTreeSet, path::PathBuf};

use registry_types::{DOCKER_HUB, PathPrefix, RegistryHost};
use serde::{Deserialize, Serialize};
use url::Url;

use super::check::{LONGEST_TIME, is_origin};
use crate::ServerError;

/// Five minutes: a moved tag is seen soon, and a cluster that starts a hundred pods of one image asks once.
const REVALIDATE_SECONDS: u64 = 300;
/// Long enough to spare an upstream the retries of a client, short enough for who has just pushed there.
const NEGATIVE_SECONDS: u64 = 10;

/// Names under which Docker Hub is known.
const DOCKER_HUB_NAMES: [&str; 3] = [DOCKER_HUB, "registry-1.docker.io", "index.docker.io"];

/// One upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Repositories below it mirror those of the upstream: with `docker.io`, `docker.io/library/alpine` mirrors its
    /// `library/alpine`. `*`: every repository, under its own name, as a mirror for Docker's daemon needs it.
    pub prefix: String,
    /// Its scheme, host and port.
    pub url: Url,
    /// Hosts by which containerd means it (`?ns=HOST`); without, the host of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// The login for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// File with the login's password or token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// PEM file with authorities that are trusted for it, beside the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// A tag is asked for again when so long ago it was, in seconds.
    #[serde(default = "revalidate_seconds")]
    pub revalidate_seconds: u64,
    /// What the upstream does not have is asked for again after so long, in seconds.
    #[serde(default = "negative_seconds")]
    pub negative_seconds: u64,
}

fn revalidate_seconds() -> u64 {
    REVALIDATE_SECONDS
}

fn negative_seconds() -> u64 {
    NEGATIVE_SECONDS
}

impl UpstreamConfig {
    /// # Errors
    /// [`ServerError::Config`] when it is neither a repository's name nor `*`.
    pub fn path_prefix(&self) -> Result<PathPrefix, ServerError> {
        let text = self.prefix.strip_suffix('/').unwrap_or(&self.prefix);
        text.parse().map_err(|error| ServerError::Config(format!("upstreams.prefix: {error}")))
    }

    /// The registry's host and port; Docker Hub's other names become `docker.io`.
    ///
    /// # Errors
    /// [`ServerError::Config`] when the URL names no host of a registry.
    pub fn host(&self) -> Result<RegistryHost, ServerError> {
        let bad = || {
            let prefix = &self.prefix;
            ServerError::Config(format!("upstreams.url of {prefix} must look like https://host:port"))
        };
        if !is_origin(&self.url) {
            return Err(bad());
        }
        let host = self.url.host_str().unwrap_or_default();
        let name = match self.url.port() {
            None if DOCKER_HUB_NAMES.contains(&host) => DOCKER_HUB.to_owned(),
            // A name without a port means HTTPS to the client.
            None if self.url.scheme() == "http" => format!("{host}:80"),
            None => host.to_owned(),
            Some(port) => format!("{host}:{port}"),
        };
        name.parse().map_err(|_| bad())
    }

    /// Hosts by which containerd means it.
    pub fn namespaces(&self, host: &RegistryHost) -> Vec<String> {
        match &self.namespaces {
            Some(namespaces) => namespaces.clone(),
            None if host.as_str() == DOCKER_HUB => DOCKER_HUB_NAMES.map(str::to_owned).to_vec(),
            None => vec![host.to_string()],
        }
    }
}

/// # Errors
/// [`ServerError::Config`] with what is wrong.
pub(super) fn check(upstreams: &[UpstreamConfig]) -> Result<(), ServerError> {
    let wrong = |message: String| Err(ServerError::Config(message));
    let (mut prefixes, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for upstream in upstreams {
        let (prefix, host) = (upstream.path_prefix()?, upstream.host()?);
        if upstream.username.is_some() != upstream.password_file.is_some() {
            return wrong(format!("upstreams.username and .password_file of {prefix} go together"));
        }
        if upstream.revalidate_seconds.max(upstream.negative_seconds) > LONGEST_TIME {
            return wrong(format!("the times of the upstream of {prefix} must be at most ten years"));
        }
        for namespace in upstream.namespaces(&host) {
            if !namespaces.insert(namespace.to_ascii_lowercase()) {
                return wrong(format!("two upstreams have the namespace {namespace}"));
            }
        }
        if !prefixes.insert(prefix.clone()) {
            return wrong(format!("two upstreams have the prefix {prefix}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(text: &str) -> UpstreamConfig {
        toml::from_str(text).unwrap()
    }

    fn refusal(upstreams: &[&str]) -> String {
        let upstreams: Vec<_> = upstreams.iter().map(|text| upstream(text)).collect();
        check(&upstreams).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn docker_hub_has_many_names_and_one_host() {
        for name in DOCKER_HUB_NAMES {
            let hub = upstream(&format!("prefix = 'docker.io/'\nurl = 'https://{name}'"));
            assert_eq!(hub.path_prefix().unwrap().to_string(), "docker.io");
            let host = hub.host().unwrap();
            assert_eq!((host.as_str(), hub.namespaces(&host).len()), (DOCKER_HUB, 3));
        }
        let own = upstream("prefix = '*'\nurl = 'http://localhost:5000'\nnamespaces = ['a']");
        let host = own.host().unwrap();
        assert_eq!((host.as_str(), own.namespaces(&host)), ("localhost:5000", vec!["a".to_owned()]));
        assert_eq!(upstream("prefix = 'a'\nurl = 'http://host'").host().unwrap().as_str(), "host:80");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let good = "prefix = 'a'\nurl = 'https://a.example'\n";
        assert_eq!(refusal(&[good, "prefix = 'b'\nurl = 'https://b.example'"]), "");
        assert!(refusal(&["prefix = 'A'\nurl = 'https://a.example'"]).contains("prefix"));
        assert!(refusal(&["prefix = 'a'\nurl = 'https://a.example/path'"]).contains("upstreams.url"));
        assert!(refusal(&["prefix = 'a'\nurl = 'https://u:p@a.example'"]).contains("upstreams.url"));
        assert!(refusal(&[&format!("{good}username = 'me'")]).contains("password_file"));
        assert!(refusal(&[&format!("{good}revalidate_seconds = 999999999999")]).contains("ten years"));
        assert!(refusal(&[good, "prefix = 'a/'\nurl = 'https://b.example'"]).contains("two upstreams"));
        assert!(refusal(&[good, "prefix = 'b'\nurl = 'https://a.example'"]).contains("namespace"));
    }
}
