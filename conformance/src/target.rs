//! The registry that is asked, and who asks.

use std::fmt;

use registry_client::Secret;
use url::{Host, Url};

use crate::ConformanceError;

/// A registry's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    unchecked: bool,
}

impl Target {
    /// Reads `http://host[:port]` or `https://host[:port]`. Without a scheme, this machine is asked by HTTP and
    /// every other one by HTTPS. With `unchecked`, a certificate need not prove anything.
    pub fn parse(text: &str, unchecked: bool) -> Result<Self, ConformanceError> {
        let bad =
            |reason: &str| ConformanceError::Target { text: text.to_owned(), reason: reason.to_owned() };
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let mut url = Url::parse(&with_scheme).map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("its scheme is neither http nor https"));
        }
        if url.host().is_none() {
            return Err(bad("it names no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(bad("name and password do not belong there: use --username and --password-stdin"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(bad("only host and port are expected"));
        }
        if !text.contains("://") && is_this_machine(&url) && url.set_scheme("http").is_err() {
            return Err(bad("its scheme cannot be changed"));
        }
        Ok(Self { url, unchecked })
    }

    /// Whether HTTPS is spoken.
    pub(crate) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(crate) fn is_unchecked(&self) -> bool {
        self.unchecked
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// `host[:port]`, as the official suite wants it.
    pub(crate) fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str().trim_end_matches('/'))
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Name and password. Printing them shows the name only.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub(crate) username: String,
    pub(crate) password: Secret,
}

impl Credentials {
    pub fn new(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { username: username.into(), password: password.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_scheme() {
        let shown = |text| Target::parse(text, false).unwrap().to_string();
        assert_eq!(shown("http://localhost:5050"), "http://localhost:5050");
        assert_eq!(shown("localhost:5050"), "http://localhost:5050");
        assert_eq!(shown("127.0.0.1:5050/"), "http://127.0.0.1:5050");
        assert_eq!(shown("[::1]:5050"), "http://[::1]:5050");
        assert_eq!(shown("registry.example"), "https://registry.example");
        assert_eq!(Target::parse("gitlab.example:5050", false).unwrap().authority(), "gitlab.example:5050");
        for bad in ["", "ftp://host", "http://", "https://a/b", "https://u:p@host", "https://host?x=1"] {
            assert!(Target::parse(bad, false).is_err(), "{bad}");
        }
    }

    #[test]
    fn passwords_are_not_printed() {
        let shown = format!("{:?}", Credentials::new("anna", "secret-password"));
        assert!(shown.contains("anna") && !shown.contains("secret-password"), "{shown}");
    }
}
