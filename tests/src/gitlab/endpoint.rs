//! What Rails answers to one request.

use std::{
    io::{BufRead, BufReader, Read},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use url::form_urlencoded;
use uuid::Uuid;

use super::{GitLabKey, Member};

const SERVICE: &str = "container_registry";
const ISSUER: &str = "omnibus-gitlab-issuer";
/// Seconds by which a token is valid before it is made: clocks differ.
const BACKDATED: u64 = 5;
/// `container_registry_token_expire_delay`, in seconds.
const LIFE: u64 = 300;

pub(super) struct Endpoint {
    pub(super) key: Arc<GitLabKey>,
    pub(super) members: Vec<Member>,
}

/// The parts of a request that count.
pub(super) struct Request {
    method: String,
    path: String,
    pub(super) query: String,
    login: Option<(String, String)>,
}

pub(super) struct Answer {
    pub(super) status: &'static str,
    pub(super) body: String,
}

impl Request {
    pub(super) fn read(stream: &mut impl Read) -> Result<Self> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().context("no request")??;
        let mut words = first.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self { method, path: path.to_owned(), query: query.to_owned(), login: None };
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                request.login = basic(value);
            }
        }
        Ok(request)
    }
}

fn basic(value: &str) -> Option<(String, String)> {
    let decoded = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

impl Endpoint {
    pub(super) fn answer(&self, request: &Request) -> Answer {
        if request.method != "GET" || request.path != "/jwt/auth" {
            return Answer { status: "404 Not Found", body: String::new() };
        }
        let query: Vec<(String, String)> =
            form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
        if !query.iter().any(|(name, value)| name == "service" && value == SERVICE) {
            return Answer { status: "404 Not Found", body: String::new() };
        }
        let scopes: Vec<&str> = query
            .iter()
            .filter(|(name, _)| name == "scope")
            .flat_map(|(_, value)| value.split(' '))
            .filter(|scope| !scope.is_empty())
            .collect();
        let login = request.login.as_ref().map(|(name, password)| (name.as_str(), password.as_str()));
        let Some(member) = self.members.iter().find(|member| member.login == login) else {
            return refusal("401 Unauthorized", "UNAUTHORIZED", "HTTP Basic: Access denied");
        };
        if login.is_none() && scopes.is_empty() {
            return refusal("403 Forbidden", "DENIED", "access forbidden");
        }
        match self.mint(member, &scopes) {
            Ok(token) => Answer { status: "200 OK", body: json!({ "token": token }).to_string() },
            Err(error) => refusal("500 Internal Server Error", "UNKNOWN", &error.to_string()),
        }
    }

    /// The claims stand in the order in which Rails sets them.
    fn mint(&self, member: &Member, scopes: &[&str]) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let times = format!(r#""iat":{now},"nbf":{},"exp":{}"#, now - BACKDATED, now + LIFE);
        let info = member.user_info.unwrap_or("null");
        let user = format!(r#"{{"user_info":{info},"jti":"{}",{times}}}"#, Uuid::new_v4());
        let access: Vec<String> = scopes.iter().filter_map(|scope| granted(member, scope)).collect();
        let subject = member.subject.map(|subject| format!(r#""sub":"{subject}","#)).unwrap_or_default();
        self.key.sign(&format!(
            r#"{{"auth_type":"{}","access":[{}],"user":"{}","jti":"{}","aud":"{SERVICE}",{subject}"iss":"{ISSUER}",{times}}}"#,
            member.auth_type,
            access.join(","),
            self.key.sign(&user)?,
            Uuid::new_v4(),
        ))
    }
}

/// One entry of `access`. Refused actions are dropped, and an entry without any is left out.
fn granted(member: &Member, scope: &str) -> Option<String> {
    let mut parts = scope.splitn(3, ':');
    let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
    let allowed = |action: &&str| match kind {
        "registry" => name == "catalog" && *action == "*" && member.admin,
        _ => {
            member.rights.iter().any(|(prefix, actions)| name.starts_with(prefix) && actions.contains(action))
        }
    };
    let actions: Vec<String> =
        actions.split(',').filter(allowed).map(|action| format!(r#""{action}""#)).collect();
    if actions.is_empty() {
        return None;
    }
    let meta = match kind {
        "repository" => {
            // Rules about tags are for users; those of this project deny nothing.
            let rules = match member.subject {
                Some(_) => r#","tag_deny_access_patterns":{"push":[],"delete":[]}"#,
                None => "",
            };
            let path = name.to_lowercase();
            format!(r#","meta":{{"project_path":"{path}","project_id":42,"root_namespace_id":7{rules}}}"#)
        }
        _ => String::new(),
    };
    Some(format!(r#"{{"type":"{kind}","name":"{name}","actions":[{}]{meta}}}"#, actions.join(",")))
}

fn refusal(status: &'static str, code: &str, message: &str) -> Answer {
    let body = json!({ "errors": [{ "code": code, "message": message }] });
    Answer { status, body: body.to_string() }
}
