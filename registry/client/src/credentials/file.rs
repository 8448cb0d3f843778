//! Docker's `config.json` and containers' `auth.json`: the same shape, `auths`, `credHelpers`, `credsStore`.

use std::{collections::HashMap, io, path::Path};

use base64::{Engine as _, engine::general_purpose};
use registry_types::DOCKER_HUB;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use super::Credential;
use crate::{Error, secret::Secret};

/// Longest credentials file that is read, in bytes; real ones have a few kilobytes.
const LONGEST_FILE: u64 = 4 << 20;

/// The user name by which helpers say that the password is an identity token.
pub(super) const TOKEN_USER: &str = "<token>";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConfigFile {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
    identitytoken: Option<Secret>,
    registrytoken: Option<Secret>,
}

/// Reads a file; `None` when it is not there or this user may not read it.
pub(super) async fn read(path: &Path) -> Result<Option<ConfigFile>, Error> {
    let place = path.display().to_string();
    let unusable = |reason: String| Error::Credentials { place: place.clone(), reason };
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unusable(error.to_string())),
    };
    let mut content = Vec::new();
    file.take(LONGEST_FILE).read_to_end(&mut content).await.map_err(|error| unusable(error.to_string()))?;
    parse(&content, &place).map(Some)
}

pub(super) fn parse(content: &[u8], place: &str) -> Result<ConfigFile, Error> {
    if content.iter().all(u8::is_ascii_whitespace) {
        return Ok(ConfigFile::default());
    }
    // serde_json's own message may repeat a piece of the content: give the position only.
    serde_json::from_slice(content).map_err(|error| Error::Credentials {
        place: place.to_owned(),
        reason: format!(
            "it is not JSON of the form {{\"auths\": ..}} at line {} column {}",
            error.line(),
            error.column()
        ),
    })
}

impl ConfigFile {
    pub(super) fn helper_for(&self, host: &str) -> Option<&str> {
        self.cred_helpers
            .iter()
            .find(|(key, _)| normalized(key) == host)
            .map(|(_, name)| name.as_str())
            .filter(|name| !name.is_empty())
    }

    pub(super) fn common_helper(&self) -> Option<&str> {
        self.creds_store.as_deref().filter(|name| !name.is_empty())
    }

    /// The first of `keys` with a usable entry.
    pub(super) fn find(&self, keys: &[String], place: &str) -> Result<Option<Credential>, Error> {
        for wanted in keys {
            for (key, entry) in self.auths.iter().filter(|(key, _)| normalized(key) == *wanted) {
                let credential = entry.credential().map_err(|reason| Error::Credentials {
                    place: place.to_owned(),
                    reason: format!("the entry for {key} {reason}"),
                })?;
                if credential.is_some() {
                    return Ok(credential);
                }
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn credential(&self) -> Result<Option<Credential>, &'static str> {
        let filled = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.is_empty());
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(auth) = filled(&self.auth) {
            return decode(&auth).map(Some);
        }
        match (&self.username, filled(&self.password)) {
            (Some(user), Some(password)) if !user.is_empty() => {
                Ok(Some(Credential::Basic { user: user.clone(), password }))
            }
            _ => Ok(None),
        }
    }
}

/// Undoes `base64(user:password)`; some tools leave the padding out or end with zero bytes.
fn decode(auth: &Secret) -> Result<Credential, &'static str> {
    let text = auth.expose().trim().trim_end_matches('=');
    let raw = general_purpose::STANDARD_NO_PAD.decode(text).map_err(|_| "has an auth that is not base64")?;
    let text = String::from_utf8(raw).map_err(|_| "has an auth that is not text")?;
    let (user, password) = text.split_once(':').ok_or("has an auth that is not user:password in base64")?;
    let password = Secret::new(password.trim_end_matches('\0'));
    if user == TOKEN_USER {
        return Ok(Credential::IdentityToken(password));
    }
    Ok(Credential::Basic { user: user.to_owned(), password })
}

/// A key as `host[:port][/path]`: Docker wrote whole URLs in the past, and still does for Docker Hub.
fn normalized(key: &str) -> String {
    let bare = match key.split_once("://") {
        Some((_, rest)) => rest.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2"),
        None => key,
    };
    let bare = bare.trim_end_matches('/');
    let (host, path) = match bare.split_once('/') {
        Some((host, path)) => (host, Some(path)),
        None => (bare, None),
    };
    let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { DOCKER_HUB } else { host };
    match path {
        // `index.docker.io/v1` without scheme is Docker Hub as well.
        Some("v1" | "v2") | None => host.to_owned(),
        Some(path) => format!("{host}/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(json: &str, key: &str) -> Option<Credential> {
        parse(json.as_bytes(), "test").unwrap().find(&[key.to_owned()], "test").unwrap()
    }

    #[test]
    fn every_kind_of_entry_is_read() {
        let basic = |user: &str, password: &str| {
            Some(Credential::Basic { user: user.to_owned(), password: password.into() })
        };
        assert_eq!(find(r#"{"auths":{"h":{"auth":"dTpw"}}}"#, "h"), basic("u", "p"));
        assert_eq!(find(r#"{"auths":{"h":{"username":"u","password":"p"}}}"#, "h"), basic("u", "p"));
        assert_eq!(
            find(r#"{"auths":{"h":{"auth":"dTpw","identitytoken":"t"}}}"#, "h"),
            Some(Credential::IdentityToken("t".into()))
        );
        assert_eq!(
            find(r#"{"auths":{"h":{"registrytoken":"t"}}}"#, "h"),
            Some(Credential::RegistryToken("t".into()))
        );
        // What Docker leaves behind when a helper keeps the password.
        assert_eq!(find(r#"{"auths":{"h":{}},"credsStore":"pass"}"#, "h"), None);
        assert_eq!(find(r#"{"HttpHeaders":{"a":"b"}}"#, "h"), None);
    }

    #[test]
    fn keys_lose_scheme_and_version() {
        for (key, host) in [
            ("https://index.docker.io/v1/", "docker.io"),
            ("index.docker.io/v1", "docker.io"),
            ("https://h:5050", "h:5050"),
            ("http://h/v2/", "h"),
            ("h/org", "h/org"),
            ("h/v1x", "h/v1x"),
        ] {
            assert_eq!(normalized(key), host, "{key}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "\\PC*") {
            let _ = parse(text.as_bytes(), "test");
            let _ = decode(&Secret::new(text.clone()));
            let _ = normalized(&text);
        }
    }
}
