//! Image references as people write them: `[host[:port]/]repository[:tag][@digest]`, with Docker's rules for a
//! missing host. A reference without host means Docker Hub, there and in every client that users know.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{Digest, ParseError, Reference, RepositoryName, Tag, shown};

/// The name of Docker Hub in references.
pub const DOCKER_HUB: &str = "docker.io";
/// The tag meant when a reference names neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// A registry's host and optional port, such as `gitlab.iceymoss:5050` or `[::1]:5050`. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistryHost(Arc<str>);

impl RegistryHost {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without its port and without brackets.
    pub fn host(&self) -> &str {
        let (host, _) = split_port(&self.0);
        host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
    }

    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// Whether the host is this machine by name or address (RFC 6761 section 6.3, RFC 1122 section 3.2.1.3).
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        host == "localhost"
            || host.ends_with(".localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Splits `host:port`; an IPv6 address must be in brackets to have a port.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

impl FromStr for RegistryHost {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |reason: &str| ParseError::ImageReference { text: shown(text), reason: reason.to_owned() };
        let (host, port) = split_port(text);
        if port.is_some_and(|port| !matches!(port.parse::<u16>(), Ok(1..)) || port.starts_with('+')) {
            return Err(bad("the port is not a number from 1 to 65535"));
        }
        let valid = match host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            }),
        };
        if valid { Ok(Self(text.into())) } else { Err(bad("the host is not a name or an address")) }
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A parsed image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    pub registry: RegistryHost,
    pub repository: RepositoryName,
    pub tag: Option<Tag>,
    pub digest: Option<Digest>,
}

impl ImageReference {
    /// What to ask the registry for: the digest if there is one, else the tag, else `latest`.
    pub fn reference(&self) -> Reference {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Reference::Digest(*digest),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => Reference::Tag(DEFAULT_TAG.parse().expect("latest is a tag")),
        }
    }

    /// The same repository under another tag, without digest.
    #[must_use]
    pub fn with_tag(&self, tag: Tag) -> Self {
        Self { tag: Some(tag), digest: None, ..self.clone() }
    }

    /// The same repository by digest, without tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// `host/repository`, the part that all tags share.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }
}

/// Docker's rule: the part before the first slash is a host if it has a dot or a colon, an upper-case letter,
/// or is `localhost`.
fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

impl FromStr for ImageReference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = |reason: &str| ParseError::ImageReference { text: shown(text), reason: reason.to_owned() };
        if text.contains("://") {
            return Err(bad("leave the scheme away, write host:port/repository:tag"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (host, rest) = match rest.split_once('/') {
            Some((first, behind)) if is_host(first) => (first, behind),
            _ => (DOCKER_HUB, rest),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.parse::<Tag>()?)),
            None => (rest, None),
        };
        let host = if host == "index.docker.io" { DOCKER_HUB } else { host };
        let repository = if host == DOCKER_HUB && !repository.contains('/') {
            format!("library/{repository}")
        } else {
            repository.to_owned()
        };
        Ok(Self {
            registry: host.parse()?,
            repository: repository.parse::<RepositoryName>().map_err(|error| bad(&error.to_string()))?,
            tag,
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn docker_s_short_names_mean_docker_hub() {
        for (text, full) in [
            ("alpine", "docker.io/library/alpine"),
            ("alpine:3", "docker.io/library/alpine:3"),
            ("user/app", "docker.io/user/app"),
            ("index.docker.io/alpine", "docker.io/library/alpine"),
            ("localhost/app", "localhost/app"),
            ("localhost:5050/app:v1", "localhost:5050/app:v1"),
            ("gitlab.iceymoss:5050/root/hichat:7c0b862", "gitlab.iceymoss:5050/root/hichat:7c0b862"),
            ("[::1]:5050/a/b", "[::1]:5050/a/b"),
        ] {
            assert_eq!(text.parse::<ImageReference>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn a_digest_wins_over_a_tag() {
        let digest = Digest::sha256(b"");
        let image: ImageReference = format!("host:1/a:t@{digest}").parse().unwrap();
        assert_eq!(image.reference(), Reference::Digest(digest));
        assert_eq!("host:1/a".parse::<ImageReference>().unwrap().reference().to_string(), "latest");
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "",
            ":",
            "a:",
            "https://host/a",
            "host:0/a",
            "host:99999/a",
            "Alpine",
            "a@sha256:0",
            "-.x/a",
            "a b",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        let loopback = |text: &str| text.parse::<RegistryHost>().unwrap().is_loopback();
        assert!(loopback("localhost:5050") && loopback("127.0.0.2") && loopback("[::1]:5050"));
        assert!(!loopback("gitlab.iceymoss:5050") && !loopback("172.21.0.1:5050"));
    }

    proptest! {
        #[test]
        fn what_is_taken_prints_to_itself(text in "([a-z.]{1,8}(:[0-9]{1,5})?/)?[a-z/]{1,12}(:[a-z0-9.]{1,6})?") {
            if let Ok(image) = text.parse::<ImageReference>() {
                prop_assert_eq!(image.to_string().parse::<ImageReference>().unwrap(), image);
            }
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = text.parse::<ImageReference>();
        }
    }
}
