//! Where the Docker Engine is, found the way the `docker` command finds it: `DOCKER_HOST` with
//! `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH`, else the chosen Docker context, else the default socket.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use registry_types::Digest;
use serde::Deserialize;

use crate::ImportError;

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Docker's ports for a `tcp://` address without one, plain and with TLS.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// The address of a Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port`, with TLS if its files are given.
    Tcp { authority: String, tls: Option<TlsFiles> },
}

/// PEM files of a TLS connection in which both sides show a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub authority_certificate: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    /// Docker's file names in `directory`.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            authority_certificate: directory.join("ca.pem"),
            certificate: directory.join("cert.pem"),
            key: directory.join("key.pem"),
        }
    }
}

/// The part of a context's `meta.json` that names its Engine.
#[derive(Deserialize)]
struct ContextFile {
    #[serde(rename = "Endpoints", default)]
    endpoints: ContextEndpoints,
}

#[derive(Deserialize, Default)]
struct ContextEndpoints {
    docker: Option<ContextEndpoint>,
}

#[derive(Deserialize)]
struct ContextEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
}

#[derive(Deserialize, Default)]
struct ConfigFile {
    #[serde(rename = "currentContext", default)]
    current_context: String,
}

impl DockerAddress {
    /// The address this process is meant to use. Reads the environment and, for contexts, small files.
    ///
    /// # Errors
    /// [`ImportError::DockerAddress`] when the address or the context is unusable.
    pub fn from_environment_blocking() -> Result<Self, ImportError> {
        Self::from_lookup(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_lookup(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, ImportError> {
        let config = variable("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".docker")));
        if let Some(host) = variable("DOCKER_HOST") {
            let tls = variable("DOCKER_TLS_VERIFY")
                .map(|_| {
                    variable("DOCKER_CERT_PATH").map(PathBuf::from).or(config).ok_or_else(|| {
                        unusable(
                            &host,
                            "DOCKER_TLS_VERIFY is set: name the folder of ca.pem in DOCKER_CERT_PATH",
                        )
                    })
                })
                .transpose()?
                .map(|directory| TlsFiles::in_directory(&directory));
            return Self::parse(&host, tls);
        }
        let Some(config) = config else { return Ok(Self::Unix(DEFAULT_SOCKET.into())) };
        let context = match variable("DOCKER_CONTEXT") {
            Some(context) => context,
            None => match std::fs::read(config.join("config.json")) {
                Ok(text) => {
                    serde_json::from_slice::<ConfigFile>(&text)
                        .map_err(|error| {
                            unusable(&config.join("config.json").to_string_lossy(), &error.to_string())
                        })?
                        .current_context
                }
                Err(_) => String::new(),
            },
        };
        match context.as_str() {
            "" | "default" => Ok(Self::Unix(DEFAULT_SOCKET.into())),
            context => Self::from_context(&config, context),
        }
    }

    /// Reads the context `name`; its folder is the sha256 of its name.
    fn from_context(config: &Path, name: &str) -> Result<Self, ImportError> {
        let bad = |reason: String| unusable(&format!("context {name}"), &reason);
        let id = Digest::sha256(name.as_bytes()).hex();
        let file = config.join("contexts/meta").join(&id).join("meta.json");
        let text = std::fs::read(&file).map_err(|error| bad(format!("{}: {error}", file.display())))?;
        let context: ContextFile = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        let host = context.endpoints.docker.map(|endpoint| endpoint.host).unwrap_or_default();
        let tls = config.join("contexts/tls").join(&id).join("docker");
        Self::parse(&host, tls.is_dir().then(|| TlsFiles::in_directory(&tls)))
    }

    /// Reads `unix:///path` or `tcp://host[:port]`, as in `DOCKER_HOST`.
    ///
    /// # Errors
    /// [`ImportError::DockerAddress`] for other schemes and for malformed addresses.
    pub fn parse(text: &str, tls: Option<TlsFiles>) -> Result<Self, ImportError> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| unusable(text, "write unix:///path/docker.sock or tcp://host:port"))?;
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "unix" => {
                Err(unusable(text, "the socket's path must be absolute, as in unix:///run/docker.sock"))
            }
            "tcp" => {
                let authority = rest.trim_end_matches('/');
                if authority.is_empty()
                    || authority.contains(['/', '@', '?', '#'])
                    || authority.contains(char::is_whitespace)
                {
                    return Err(unusable(text, "write tcp://host:port"));
                }
                let port = if tls.is_some() { TLS_PORT } else { PLAIN_PORT };
                let authority =
                    if has_port(authority)? { authority.to_owned() } else { format!("{authority}:{port}") };
                Ok(Self::Tcp { authority, tls })
            }
            other => Err(unusable(
                text,
                &format!("{other}:// is not supported: use unix:// or tcp://, for ssh a forwarded socket"),
            )),
        }
    }

    /// What belongs into the `Host` header.
    pub(crate) fn host_header(&self) -> &str {
        match self {
            Self::Unix(_) => "docker",
            Self::Tcp { authority, .. } => authority,
        }
    }
}

/// Whether `authority` ends in a port; a port that is no number is an error.
fn has_port(authority: &str) -> Result<bool, ImportError> {
    let tail = authority.rsplit(']').next().unwrap_or(authority);
    match tail.rsplit_once(':') {
        None => Ok(false),
        Some((_, port)) if port.parse::<u16>().is_ok() => Ok(true),
        Some(_) => Err(unusable(authority, "the port is not a number")),
    }
}

fn unusable(address: &str, reason: &str) -> ImportError {
    ImportError::DockerAddress { address: address.to_owned(), reason: reason.to_owned() }
}

impl fmt::Display for DockerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { authority, .. } => write!(f, "tcp://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn lookup(variables: &[(&str, &str)]) -> Result<DockerAddress, ImportError> {
        let variables: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        DockerAddress::from_lookup(&|name| variables.get(name).cloned())
    }

    #[test]
    fn docker_host_is_read_with_its_tls_files() {
        assert_eq!(
            lookup(&[("DOCKER_HOST", "unix:///run/d.sock")]).unwrap(),
            DockerAddress::Unix("/run/d.sock".into())
        );
        assert_eq!(
            lookup(&[("DOCKER_HOST", "tcp://docker")]).unwrap(),
            DockerAddress::Tcp { authority: "docker:2375".to_owned(), tls: None }
        );
        assert_eq!(
            lookup(&[
                ("DOCKER_HOST", "tcp://docker"),
                ("DOCKER_TLS_VERIFY", "1"),
                ("DOCKER_CERT_PATH", "/certs/client")
            ])
            .unwrap(),
            DockerAddress::Tcp {
                authority: "docker:2376".to_owned(),
                tls: Some(TlsFiles::in_directory(Path::new("/certs/client")))
            }
        );
        assert_eq!(lookup(&[]).unwrap(), DockerAddress::Unix(DEFAULT_SOCKET.into()));
    }

    #[test]
    fn unusable_addresses_are_refused() {
        for bad in ["", "docker:2375", "ssh://host", "unix://relative", "tcp://", "tcp://h:x", "tcp://u@h"] {
            let error = DockerAddress::parse(bad, None).unwrap_err();
            assert!(matches!(error, ImportError::DockerAddress { .. }), "{bad}: {error}");
        }
        assert!(DockerAddress::parse("tcp://[::1]:2375", None).is_ok());
    }

    #[test]
    fn the_current_context_names_the_engine_unless_docker_host_does() {
        let home = tempfile::tempdir().unwrap();
        let config = home.path().join(".docker");
        let meta = config.join("contexts/meta").join(Digest::sha256(b"colima").hex());
        std::fs::create_dir_all(&meta).unwrap();
        std::fs::write(config.join("config.json"), r#"{"auths":{},"currentContext":"colima"}"#).unwrap();
        std::fs::write(
            meta.join("meta.json"),
            r#"{"Name":"colima","Endpoints":{"docker":{"Host":"unix:///colima/docker.sock"}}}"#,
        )
        .unwrap();
        let home = home.path().to_str().unwrap();
        assert_eq!(lookup(&[("HOME", home)]).unwrap(), DockerAddress::Unix("/colima/docker.sock".into()));
        assert_eq!(
            lookup(&[("HOME", home), ("DOCKER_HOST", "unix:///other")]).unwrap(),
            DockerAddress::Unix("/other".into())
        );
        assert!(lookup(&[("HOME", home), ("DOCKER_CONTEXT", "absent")]).is_err());
    }
}
