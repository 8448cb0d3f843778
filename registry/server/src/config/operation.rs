//! What operators watch, and whom the registry tells what happened.

use std::{collections::BTreeMap, fmt, net::SocketAddr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use registry_core::{EndpointName, EventAction, EventFilter, EventKeeping};
use registry_types::{MediaType, PathPattern};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::Config;
use crate::ServerError;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Address and port that answer `/metrics`, `/livez` and `/readyz`, and nothing else, by plain HTTP. Then they are
    /// answered nowhere else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Without `listen`: answers `/metrics` beside the registry, to everybody who reaches it.
    pub metrics_on_main: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// Events that were delivered are kept for so long, in seconds, so that they can be delivered again.
    pub keep_seconds: u64,
    /// Events that were not are kept for so long, in seconds.
    pub longest_seconds: u64,
    pub endpoints: Vec<EndpointConfig>,
}

/// Somebody who is told what happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointConfig {
    /// Its place in the outbox is kept under this name.
    pub name: EndpointName,
    /// Where events are posted to, `http` or `https`.
    pub url: Url,
    /// Headers of each request, such as Authorization. They are shown nowhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderText>,
    /// What it wants to hear: some of push, pull, mount, delete.
    #[serde(default = "usual_actions")]
    pub actions: Vec<EventAction>,
    /// Path patterns of the repositories that it wants to hear of; of all when empty.
    #[serde(default, deserialize_with = "patterns")]
    pub repositories: Vec<PathPattern>,
    /// Nothing about content of these types; blobs are application/octet-stream.
    #[serde(default)]
    pub ignored_media_types: Vec<MediaType>,
    /// What one request may take, in seconds.
    #[serde(default = "usual_timeout")]
    pub timeout_seconds: u64,
}

/// A day: until then somebody has seen that an endpoint lost something.
const KEEP: u64 = 24 * 3600;
/// A week: an endpoint that is away for longer has to look for itself what there is.
const LONGEST: u64 = 7 * 24 * 3600;
/// Usual time for a request, in seconds. Longer than GitLab's Rails needs for a batch on a bad day.
const USUAL_TIMEOUT: u64 = 5;
/// Ten minutes, in seconds: for so long at most a stopped replica keeps others from delivering.
const LONGEST_TIMEOUT: u64 = 600;

/// Pulls are many and seldom wanted, so they are told to those only who name them.
fn usual_actions() -> Vec<EventAction> {
    vec![EventAction::Push, EventAction::Mount, EventAction::Delete]
}

fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathPattern>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

fn usual_timeout() -> u64 {
    USUAL_TIMEOUT
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self { keep_seconds: KEEP, longest_seconds: LONGEST, endpoints: Vec::new() }
    }
}

impl EventsConfig {
    pub(crate) fn keeping(&self) -> EventKeeping {
        EventKeeping {
            delivered: Duration::from_secs(self.keep_seconds),
            longest: Duration::from_secs(self.longest_seconds),
        }
    }
}

impl EndpointConfig {
    pub(crate) fn filter(&self) -> EventFilter {
        EventFilter {
            actions: self.actions.iter().copied().collect(),
            repositories: self.repositories.clone(),
            ignored_media_types: self.ignored_media_types.clone(),
        }
    }

    /// The headers of each request, marked as secrets.
    pub(crate) fn header_map(&self) -> Result<HeaderMap, ServerError> {
        let mut headers = HeaderMap::new();
        for (name, HeaderText(value)) in &self.headers {
            let malformed =
                || self.wrong(&format!("the header {name:?} is malformed: its name or value cannot be sent"));
            let name: HeaderName = name.parse().map_err(|_| malformed())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| malformed())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn check(&self) -> Result<(), ServerError> {
        if !matches!(self.url.scheme(), "http" | "https") || self.url.host().is_none() {
            return Err(self.wrong("its url must begin with http:// or https:// and name a host"));
        }
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return Err(self.wrong("take the login out of its url: set the header Authorization"));
        }
        if self.actions.is_empty() {
            return Err(self.wrong("it has no actions: name some of push, pull, mount, delete"));
        }
        if !(1..=LONGEST_TIMEOUT).contains(&self.timeout_seconds) {
            return Err(self.wrong("its timeout_seconds must be from 1 to 600"));
        }
        self.header_map().map(|_| ())
    }

    fn wrong(&self, message: &str) -> ServerError {
        ServerError::Config(format!("events.endpoints, {}: {message}", self.name))
    }
}

impl Config {
    pub(super) fn check_operation(&self) -> Result<(), ServerError> {
        let events = &self.events;
        if events.keep_seconds > events.longest_seconds {
            return Err(ServerError::Config(
                "events.keep_seconds must not be above events.longest_seconds".to_owned(),
            ));
        }
        for (number, endpoint) in events.endpoints.iter().enumerate() {
            endpoint.check()?;
            if events.endpoints.iter().skip(number + 1).any(|other| other.name == endpoint.name) {
                return Err(endpoint.wrong("there are two of this name"));
            }
        }
        if self.admin.listen.is_some_and(|admin| admin.port() != 0 && admin == self.listen) {
            return Err(ServerError::Config("admin.listen must be another address than listen".to_owned()));
        }
        Ok(())
    }
}

/// A header's value, which may hold a secret: it is read, sent and never shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct HeaderText(String);

impl Serialize for HeaderText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(not shown)")
    }
}

impl fmt::Debug for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeaderText(..)")
    }
}
