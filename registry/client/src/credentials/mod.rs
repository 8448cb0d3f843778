//! Where logins come from, in this order: the caller's own, `DOCKER_AUTH_CONFIG`, `$DOCKER_CONFIG/config.json`,
//! `~/.docker/config.json`, `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json`. The first source
//! that knows the registry wins; within one, the most specific path does. Files are read at each use, so a login
//! renewed while a long build runs is found.

mod file;
mod helper;

use std::{fmt, path::PathBuf};

use registry_types::{DOCKER_HUB, RegistryHost, RepositoryName};

use crate::{Error, secret::Secret};

/// Docker Hub's name in credentials files, older than registries' host names.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What proves to a registry who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and password, or a user and access token.
    Basic { user: String, password: Secret },
    /// An OAuth 2 refresh token that the token server exchanges.
    IdentityToken(Secret),
    /// A finished bearer token for the registry itself.
    RegistryToken(Secret),
}

/// A login and where it was found, for messages.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) credential: Credential,
    pub(crate) place: String,
}

/// An ordered list of sources of logins.
#[derive(Clone, Default)]
pub struct Credentials {
    explicit: Vec<(RegistryHost, Credential)>,
    /// The text of `DOCKER_AUTH_CONFIG`.
    text: Option<Secret>,
    files: Vec<PathBuf>,
}

impl Credentials {
    /// No login at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The sources that the environment names.
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let path = |name: &str, rest: &str| variable(name).map(|folder| PathBuf::from(folder).join(rest));
        let files = [
            path("DOCKER_CONFIG", "config.json"),
            path("HOME", ".docker/config.json"),
            variable("REGISTRY_AUTH_FILE").map(PathBuf::from),
            path("XDG_RUNTIME_DIR", "containers/auth.json"),
        ];
        Self {
            explicit: Vec::new(),
            text: variable("DOCKER_AUTH_CONFIG").map(Secret::new),
            files: files.into_iter().flatten().collect(),
        }
    }

    /// Adds a login that wins over every file, such as one from the command line or from `CI_REGISTRY_*`.
    #[must_use]
    pub fn with(mut self, host: RegistryHost, credential: Credential) -> Self {
        self.explicit.push((host, credential));
        self
    }

    /// Adds a credentials file behind the other sources.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// The login for a repository of `host`, or for the host as a whole.
    pub(crate) async fn find(
        &self,
        host: &RegistryHost,
        repository: Option<&RepositoryName>,
    ) -> Result<Option<Found>, Error> {
        if let Some((_, credential)) = self.explicit.iter().find(|(known, _)| known == host) {
            return Ok(Some(Found { credential: credential.clone(), place: "the given login".to_owned() }));
        }
        let keys = keys_for(host, repository);
        if let Some(text) = &self.text {
            let file = file::parse(text.expose().as_bytes(), "DOCKER_AUTH_CONFIG")?;
            if let Some(found) = look_in(&file, &keys, "DOCKER_AUTH_CONFIG").await? {
                return Ok(Some(found));
            }
        }
        for path in &self.files {
            let place = path.display().to_string();
            let Some(file) = file::read(path).await? else { continue };
            if let Some(found) = look_in(&file, &keys, &place).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.explicit.iter().map(|(host, _)| host.as_str()).collect();
        f.debug_struct("Credentials")
            .field("explicit", &hosts)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// A helper named for this very host comes first, then what the file itself holds, then the common helper.
async fn look_in(file: &file::ConfigFile, keys: &[String], place: &str) -> Result<Option<Found>, Error> {
    let Some(host_key) = keys.last() else { return Ok(None) };
    let server = if host_key == DOCKER_HUB { DOCKER_HUB_KEY } else { host_key };
    if let Some(name) = file.helper_for(host_key)
        && let Some(credential) = helper::get(name, server).await?
    {
        return Ok(Some(Found { credential, place: format!("docker-credential-{name}") }));
    }
    if let Some(credential) = file.find(keys, place)? {
        return Ok(Some(Found { credential, place: place.to_owned() }));
    }
    if let Some(name) = file.common_helper()
        && let Some(credential) = helper::get(name, server).await?
    {
        return Ok(Some(Found { credential, place: format!("docker-credential-{name}") }));
    }
    Ok(None)
}

/// `host/a/b`, `host/a`, `host`: most specific first.
fn keys_for(host: &RegistryHost, repository: Option<&RepositoryName>) -> Vec<String> {
    let mut keys = Vec::new();
    let mut key = match repository {
        Some(repository) => format!("{host}/{repository}"),
        None => host.to_string(),
    };
    loop {
        keys.push(key.clone());
        match key.rsplit_once('/') {
            Some((shorter, _)) => key = shorter.to_owned(),
            None => return keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    fn config(entries: &[(&str, &str)]) -> String {
        let auths: serde_json::Map<String, serde_json::Value> = entries
            .iter()
            .map(|(key, user)| {
                let auth = STANDARD.encode(format!("{user}:pa:ss"));
                ((*key).to_owned(), serde_json::json!({ "auth": auth }))
            })
            .collect();
        serde_json::json!({ "auths": auths }).to_string()
    }

    async fn user(credentials: &Credentials, host: &str, repository: &str) -> Option<String> {
        let repository = repository.parse().unwrap();
        match credentials.find(&host.parse().unwrap(), Some(&repository)).await.unwrap()?.credential {
            Credential::Basic { user, password } => {
                assert_eq!(password.expose(), "pa:ss");
                Some(user)
            }
            _ => None,
        }
    }

    #[tokio::test]
    async fn sources_are_asked_in_order_and_the_explicit_login_wins() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        };
        write("docker/config.json", config(&[("a.test", "from-docker-config"), ("c.test", "c1")]));
        write("home/.docker/config.json", config(&[("a.test", "late"), ("b.test", "from-home")]));
        write("auth.json", config(&[("c.test", "late"), ("d.test", "from-auth-file")]));
        write("run/containers/auth.json", config(&[("d.test", "late"), ("e.test", "from-runtime")]));
        let at = |name: &str| Some(folder.path().join(name).display().to_string());
        let credentials = Credentials::from_variables(|name| match name {
            "DOCKER_CONFIG" => at("docker"),
            "HOME" => at("home"),
            "REGISTRY_AUTH_FILE" => at("auth.json"),
            "XDG_RUNTIME_DIR" => at("run"),
            "DOCKER_AUTH_CONFIG" => Some(config(&[("e.test", "from-variable")])),
            _ => None,
        });
        for (host, expected) in [
            ("a.test", Some("from-docker-config")),
            ("b.test", Some("from-home")),
            ("c.test", Some("c1")),
            ("d.test", Some("from-auth-file")),
            ("e.test", Some("from-variable")),
            ("f.test", None),
        ] {
            assert_eq!(user(&credentials, host, "x").await.as_deref(), expected, "{host}");
        }
        let explicit = Credential::Basic { user: "me".to_owned(), password: "pa:ss".into() };
        let credentials = credentials.with("a.test".parse().unwrap(), explicit);
        assert_eq!(user(&credentials, "a.test", "x").await.as_deref(), Some("me"));
    }

    #[tokio::test]
    async fn the_most_specific_path_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.json");
        let text =
            config(&[("h.test:5050", "host"), ("h.test:5050/org", "org"), ("h.test:5050/org/app", "app")]);
        std::fs::write(&path, text).unwrap();
        let credentials = Credentials::none().with_file(&path);
        assert_eq!(user(&credentials, "h.test:5050", "org/app/web").await.as_deref(), Some("app"));
        assert_eq!(user(&credentials, "h.test:5050", "org/application").await.as_deref(), Some("org"));
        assert_eq!(user(&credentials, "h.test:5050", "other").await.as_deref(), Some("host"));
        assert_eq!(user(&credentials, "h.test", "org").await, None);
    }

    #[tokio::test]
    async fn docker_hub_is_found_under_its_old_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, config(&[(DOCKER_HUB_KEY, "hub"), ("https://r.test/v2/", "r")])).unwrap();
        let credentials = Credentials::none().with_file(&path);
        assert_eq!(user(&credentials, "docker.io", "library/alpine").await.as_deref(), Some("hub"));
        assert_eq!(user(&credentials, "r.test", "x").await.as_deref(), Some("r"));
    }

    #[tokio::test]
    async fn a_broken_file_is_named_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, r#"{"auths":{"h.test":{"auth":"aHVudGVyMg=="}}}"#).unwrap();
        let credentials = Credentials::none().with_file(&path);
        let error = credentials.find(&"h.test".parse().unwrap(), None).await.unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("h.test"), "{error}");
        assert!(!error.contains("aHVudGVyMg") && !error.contains("hunter2"), "{error}");
    }
}
