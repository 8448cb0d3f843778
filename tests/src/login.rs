//! Asking a token endpoint as a client does.

use anyhow::{Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::http::{Answer, Server};

/// Whom a token is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    pub name: &'a str,
    pub password: &'a str,
}

impl Login<'_> {
    /// The value of `Authorization` with name and password (RFC 7617).
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.name, self.password)))
    }
}

impl Server {
    /// The answer of `/jwt/auth` to `login`, or to nobody.
    pub fn ask_for_token(&self, login: Option<Login<'_>>, scopes: &[&str]) -> Result<Answer> {
        let mut path = "/jwt/auth?service=container_registry".to_owned();
        for scope in scopes {
            path.push_str(&format!("&scope={scope}"));
        }
        match login {
            Some(login) => self.request("GET", &path, &[("Authorization", &login.basic())], b""),
            None => self.request("GET", &path, &[], b""),
        }
    }

    /// `Bearer ...` for `scopes`; it may hold fewer rights than were asked for.
    pub fn bearer(&self, login: Option<Login<'_>>, scopes: &[&str]) -> Result<String> {
        let answer = self.ask_for_token(login, scopes)?;
        ensure!(answer.status == 200, "no token: {answer:?}");
        let token = answer.json()?["token"].as_str().map(str::to_owned);
        Ok(format!("Bearer {}", token.ok_or_else(|| anyhow::anyhow!("the answer holds no token"))?))
    }
}

/// The claims of a `Bearer ...` value, unverified.
pub fn claims(bearer: &str) -> Result<Value> {
    let payload = bearer.split('.').nth(1).unwrap_or_default();
    Ok(serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes())?)?)
}
