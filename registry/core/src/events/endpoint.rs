//! Endpoints: their names, and what each wants to hear.

use std::{collections::BTreeSet, fmt, str::FromStr};

use registry_types::{MediaType, PathPattern, RepositoryName};
use serde::{Deserialize, Serialize};

/// What an event tells of, in distribution's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventAction {
    Push,
    Pull,
    Mount,
    Delete,
}

impl fmt::Display for EventAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::Mount => "mount",
            Self::Delete => "delete",
        })
    }
}

/// Under which an endpoint's place in the outbox is kept: letters, digits, `.`, `_` and `-`, at most 64 of them. In
/// another spelling it is another endpoint, which begins anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointName(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an endpoint's name is made of 1 to 64 letters, digits, dots, underscores and hyphens")]
pub struct NotAnEndpointName;

impl EndpointName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EndpointName {
    type Err = NotAnEndpointName;

    fn from_str(text: &str) -> Result<Self, NotAnEndpointName> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let named = (1..=64).contains(&text.len()) && text.bytes().all(good);
        if named { Ok(Self(text.to_owned())) } else { Err(NotAnEndpointName) }
    }
}

impl TryFrom<String> for EndpointName {
    type Error = NotAnEndpointName;

    fn try_from(text: String) -> Result<Self, NotAnEndpointName> {
        text.parse()
    }
}

impl From<EndpointName> for String {
    fn from(name: EndpointName) -> Self {
        name.0
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an endpoint wants to hear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub actions: BTreeSet<EventAction>,
    /// Only these repositories; every one when empty.
    pub repositories: Vec<PathPattern>,
    /// Nothing about content of these types. Blobs are `application/octet-stream`.
    pub ignored_media_types: Vec<MediaType>,
}

impl EventFilter {
    /// `media_type` is in lower case; of something deleted it is not known.
    pub(super) fn wants(
        &self,
        action: EventAction,
        repository: &RepositoryName,
        media_type: Option<&str>,
    ) -> bool {
        self.actions.contains(&action)
            && (self.repositories.is_empty()
                || self.repositories.iter().any(|pattern| pattern.matches(repository)))
            && !self.ignored_media_types.iter().any(|ignored| Some(ignored.as_str()) == media_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["gitlab", "geo_event", "a.b-c", &"x".repeat(64)] {
            assert_eq!(good.parse::<EndpointName>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "ü", "a/b", "(kept)", &"x".repeat(65)] {
            assert!(bad.parse::<EndpointName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_filter_looks_at_action_repository_and_type() {
        let filter = EventFilter {
            actions: BTreeSet::from([EventAction::Push, EventAction::Delete]),
            repositories: vec!["team/**".parse().unwrap()],
            ignored_media_types: vec!["application/Octet-Stream".parse().unwrap()],
        };
        let wants = |action, repository: &str, media_type| {
            filter.wants(action, &repository.parse().unwrap(), media_type)
        };
        assert!(wants(EventAction::Push, "team/app", Some(MediaType::OCI_MANIFEST)));
        assert!(wants(EventAction::Delete, "team/app", None));
        assert!(!wants(EventAction::Pull, "team/app", Some(MediaType::OCI_MANIFEST)));
        assert!(!wants(EventAction::Push, "other/app", Some(MediaType::OCI_MANIFEST)));
        assert!(!wants(EventAction::Push, "team/app", Some("application/octet-stream")));
        let all = EventFilter { actions: BTreeSet::from([EventAction::Pull]), ..EventFilter::default() };
        assert!(all.wants(EventAction::Pull, &"any/thing".parse().unwrap(), None));
    }
}
