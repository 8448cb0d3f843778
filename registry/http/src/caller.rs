//! Who sends a request: the peer of its connection, or whom a trusted reverse proxy speaks for.
//!
//! Headers that a proxy sets are looked at only when the peer is a trusted proxy: from anybody else they are
//! claims, and would let a guesser of passwords take a new address for each guess.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header, request::Parts, uri::Authority};
use registry_auth::Identity;
use registry_core::RequestContext;

use crate::{ip_network::IpNetwork, request_id::RequestId, respond::header_text, service::RequestOrigin};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The reverse proxies whose word counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<IpNetwork>);

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<IpNetwork>) -> Self {
        Self(networks)
    }

    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// The sender of one request, as far as it can be trusted.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// What answer and logs call this request.
    pub(crate) id: RequestId,
    pub(crate) address: IpAddr,
    /// Whether the client speaks TLS, with us or with its proxy.
    pub(crate) secure: bool,
    /// Host and port that the client asked for, when its proxy tells.
    forwarded_host: Option<Authority>,
}

impl Caller {
    pub(crate) fn new(origin: &RequestOrigin, headers: &HeaderMap, proxies: &TrustedProxies) -> Self {
        let peer = origin.peer.ip().to_canonical();
        if !proxies.trust(peer) {
            let id = RequestId::random();
            return Self { id, address: peer, secure: origin.secure, forwarded_host: None };
        }
        Self {
            id: RequestId::of_proxy(headers),
            address: client_address(peer, headers, proxies),
            secure: last(headers, &FORWARDED_PROTO).and_then(is_secure).unwrap_or(origin.secure),
            forwarded_host: last(headers, &FORWARDED_HOST).and_then(host),
        }
    }

    /// The request, for those who are told what it does.
    pub(crate) fn describe(
        &self,
        origin: &RequestOrigin,
        parts: &Parts,
        identity: Identity,
    ) -> RequestContext {
        // Of a client behind a proxy the port is not known.
        let direct = origin.peer.ip().to_canonical() == self.address;
        let address = if direct {
            SocketAddr::new(self.address, origin.peer.port()).to_string()
        } else {
            self.address.to_string()
        };
        RequestContext {
            id: self.id.to_string(),
            address,
            host: self.host(&parts.uri, &parts.headers).unwrap_or_default().to_owned(),
            secure: self.secure,
            method: parts.method.as_str().to_owned(),
            user_agent: header_text(&parts.headers, &header::USER_AGENT).unwrap_or_default().to_owned(),
            identity,
        }
    }

    /// Host and port under which the client reaches the registry.
    pub(crate) fn host<'a>(&'a self, uri: &'a http::Uri, headers: &'a HeaderMap) -> Option<&'a str> {
        let told = self.forwarded_host.as_ref().or(uri.authority()).map(Authority::as_str);
        told.or_else(|| header_text(headers, &header::HOST))
    }
}

/// The right-most address that is no trusted proxy's: each proxy appends whom it heard from, so what stands left
/// of an untrusted address is that sender's own claim. When all are trusted, the left-most one. A malformed entry
/// ends the walk, because nothing says who wrote what stands left of it.
fn client_address(peer: IpAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> IpAddr {
    let mut client = peer;
    for value in headers.get_all(FORWARDED_FOR).into_iter().rev() {
        for entry in value.to_str().unwrap_or_default().rsplit(',') {
            let Some(address) = address(entry.trim()) else { return client };
            client = address;
            if !proxies.trust(client) {
                return client;
            }
        }
    }
    client
}

/// An address, with a port or without, as proxies write it.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// What the nearest proxy says: the last entry of the last header.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers.get_all(name).into_iter().next_back()?.to_str().ok()?;
    value.rsplit(',').next().map(str::trim)
}

fn is_secure(scheme: &str) -> Option<bool> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Some(true),
        _ if scheme.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

/// A host that may stand in a challenge: no login, nothing that would end its quotes.
fn host(text: &str) -> Option<Authority> {
    let authority: Authority = text.parse().ok()?;
    let plain =
        authority.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    (plain && !authority.host().is_empty()).then_some(authority)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::FileTransport;

    const PROXIES: [&str; 2] = ["10.0.0.0/8", "2001:db8::/32"];

    fn caller(peer: &str, lines: &[(&'static str, &str)]) -> Caller {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let proxies = TrustedProxies::new(PROXIES.map(|text| text.parse().unwrap()).to_vec());
        let peer = SocketAddr::new(peer.parse().unwrap(), 1234);
        let origin = RequestOrigin { peer, secure: false, transport: FileTransport::Pooled };
        Caller::new(&origin, &headers, &proxies)
    }

    fn address_of(peer: &str, forwarded: &[&str]) -> String {
        let lines: Vec<_> = forwarded.iter().map(|value| ("x-forwarded-for", *value)).collect();
        caller(peer, &lines).address.to_string()
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_proxy() {
        assert_eq!(address_of("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(address_of("10.0.0.1", &["192.0.2.1"]), "192.0.2.1");
        assert_eq!(address_of("::ffff:10.0.0.1", &["198.51.100.9, 192.0.2.1, 10.9.9.9"]), "192.0.2.1");
        assert_eq!(address_of("10.0.0.1", &["198.51.100.9, 192.0.2.1", "10.9.9.9,2001:db8::7"]), "192.0.2.1");
        assert_eq!(address_of("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(address_of("10.0.0.1", &["192.0.2.1:4711"]), "192.0.2.1");
        assert_eq!(address_of("10.0.0.1", &["[2a00::1]:4711"]), "2a00::1");
        assert_eq!(address_of("10.0.0.1", &["[2a00::1]"]), "2a00::1");
    }

    #[test]
    fn nothing_behind_a_malformed_entry_counts() {
        for malformed in ["unknown", "", "192.0.2.1.5", "_hidden"] {
            let forwarded = format!("192.0.2.1, {malformed}, 10.0.0.2");
            assert_eq!(address_of("10.0.0.1", &[&forwarded]), "10.0.0.2", "{malformed}");
        }
        assert_eq!(address_of("10.0.0.1", &["192.0.2.1", "nonsense"]), "10.0.0.1");
    }

    #[test]
    fn scheme_and_host_are_those_of_the_nearest_proxy() {
        let told = |lines: &[(&'static str, &str)]| {
            let caller = caller("10.0.0.1", lines);
            (caller.secure, caller.host(&"/v2/".parse().unwrap(), &HeaderMap::new()).map(str::to_owned))
        };
        assert_eq!(told(&[]), (false, None));
        let lines = [("x-forwarded-proto", "http, HTTPS"), ("x-forwarded-host", "a, registry.example:8443")];
        assert_eq!(told(&lines), (true, Some("registry.example:8443".to_owned())));
        for bad in ["user@host", "a\"b", "a/b", "a b", ""] {
            let lines = [("x-forwarded-proto", "gopher"), ("x-forwarded-host", bad)];
            assert_eq!(told(&lines), (false, None), "{bad}");
        }
    }

    #[test]
    fn whoever_is_no_proxy_changes_nothing() {
        let lines = [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("x-request-id", "evil"),
        ];
        for peer in ["198.51.100.1", "11.0.0.1", "::1"] {
            let caller = caller(peer, &lines);
            assert_eq!((caller.address.to_string().as_str(), caller.secure), (peer, false));
            assert!(caller.forwarded_host.is_none() && caller.id.to_string() != "evil", "{peer}");
            assert_eq!(address_of(peer, &["10.0.0.1"]), peer);
        }
    }
}
