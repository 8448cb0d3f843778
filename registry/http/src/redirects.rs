//! Which clients are sent to the object store for a blob's bytes, where there is one: a client that cannot reach it,
//! or does not follow redirects, gets them from here.

use std::{convert::Infallible, net::IpAddr, str::FromStr};

use http::{HeaderMap, header};

use crate::{ip_network::IpNetwork, respond::header_text};

/// Who is redirected.
#[derive(Debug, Clone, Default)]
pub struct Redirects {
    /// Off: everybody gets the bytes from here.
    pub enabled: bool,
    /// Those who are not redirected all the same.
    pub except: Vec<RedirectException>,
}

/// Clients that are not redirected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectException {
    /// Those with an address of this network.
    Network(IpNetwork),
    /// Those whose `User-Agent` begins like this.
    UserAgent(String),
}

impl FromStr for RedirectException {
    type Err = Infallible;

    /// An address or a network is one; everything else is the beginning of a `User-Agent`.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.parse().map_or_else(|_| Self::UserAgent(text.to_owned()), Self::Network))
    }
}

/// The rule and the client of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RedirectFor<'a> {
    pub(crate) redirects: &'a Redirects,
    pub(crate) address: IpAddr,
}

impl RedirectFor<'_> {
    pub(crate) fn wanted(self, headers: &HeaderMap) -> bool {
        let agent = header_text(headers, &header::USER_AGENT).unwrap_or_default();
        let excepted = |exception: &RedirectException| match exception {
            RedirectException::Network(network) => network.contains(self.address),
            RedirectException::UserAgent(beginning) => agent.starts_with(beginning.as_str()),
        };
        self.redirects.enabled && !self.redirects.except.iter().any(excepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_address_and_agent() {
        let except = ["10.0.0.0/8", "192.0.2.7", "old-client/"].map(|text| match text.parse() {
            Ok(exception) => exception,
            Err(never) => match never {},
        });
        let on = Redirects { enabled: true, except: except.to_vec() };
        let wanted = |redirects: &Redirects, address: &str, agent: &'static str| {
            let headers = HeaderMap::from_iter([(header::USER_AGENT, http::HeaderValue::from_static(agent))]);
            RedirectFor { redirects, address: address.parse().expect("an address") }.wanted(&headers)
        };
        assert!(wanted(&on, "192.0.2.8", "docker/29"));
        assert!(!wanted(&on, "192.0.2.7", "docker/29"));
        assert!(!wanted(&on, "10.1.2.3", "docker/29"));
        assert!(!wanted(&on, "::ffff:10.1.2.3", "docker/29"));
        assert!(!wanted(&on, "192.0.2.8", "old-client/1.0"));
        assert!(wanted(&on, "192.0.2.8", "new old-client/1.0"));
        assert!(!wanted(&Redirects::default(), "192.0.2.8", "docker/29"));
    }
}
