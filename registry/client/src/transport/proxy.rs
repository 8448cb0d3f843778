//! Proxies as the environment names them: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, in capitals or not, with
//! the rules that Go programs such as docker follow. Loopback never goes through a proxy.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use url::Url;

use crate::Error;

/// A proxy reached by plain HTTP.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// `Basic ...`, marked sensitive.
    pub(super) login: Option<HeaderValue>,
}

#[derive(Clone, Default)]
pub(crate) struct ProxySettings {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<String>,
}

impl ProxySettings {
    pub(crate) fn from_environment() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let either = |name: &str| {
            [name.to_owned(), name.to_lowercase()]
                .iter()
                .find_map(|name| variable(name).filter(|value| !value.trim().is_empty()))
        };
        // In a CGI program HTTP_PROXY is the header `Proxy` of whoever called it.
        let cgi = variable("REQUEST_METHOD").is_some();
        let http = if cgi { None } else { either("HTTP_PROXY") };
        Ok(Self {
            http: http.map(|text| parse("HTTP_PROXY", &text)).transpose()?,
            https: either("HTTPS_PROXY").map(|text| parse("HTTPS_PROXY", &text)).transpose()?,
            exceptions: either("NO_PROXY")
                .unwrap_or_default()
                .split(',')
                .map(|entry| entry.trim().to_lowercase())
                .filter(|entry| !entry.is_empty())
                .collect(),
        })
    }

    /// The proxy for a target, if any.
    pub(crate) fn for_target(&self, scheme: &str, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if scheme == "https" { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let address = host.parse::<std::net::IpAddr>().ok();
        let loopback = host == "localhost"
            || host.ends_with(".localhost")
            || address.is_some_and(|address| address.is_loopback());
        let excepted = loopback || self.exceptions.iter().any(|entry| matches(entry, &host, address, port));
        (!excepted).then_some(proxy)
    }

    /// The login for the proxy of a plain request, which travels with the request itself.
    pub(super) fn authorization_for(&self, url: &Url) -> Option<HeaderValue> {
        let port = url.port_or_known_default()?;
        self.for_target(url.scheme(), url.host_str()?, port)?.login.clone()
    }
}

/// One entry of `NO_PROXY`: `*`, a name (itself and all below), `.name` (all below), an address, a network,
/// each but the network with an optional port.
fn matches(entry: &str, host: &str, address: Option<std::net::IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        return address.is_some_and(|address| in_network(address, network, bits));
    }
    let (name, wanted) = match entry.rsplit_once(':') {
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => match digits.parse::<u16>() {
            Ok(number) => (name, Some(number)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if let (Some(address), Ok(named)) = (address, name.parse::<std::net::IpAddr>()) {
        return address == named;
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        Some(domain) => host.strip_suffix(domain).is_some_and(|front| front.ends_with('.')),
        None => {
            host == name
                || host.strip_suffix(name).is_some_and(|front| !name.is_empty() && front.ends_with('.'))
        }
    }
}

fn in_network(address: std::net::IpAddr, network: &str, bits: &str) -> bool {
    use std::net::IpAddr::{V4, V6};
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (address, network.parse()) {
        (V4(address), Ok(V4(network))) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (V6(address), Ok(V6(network))) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

fn parse(name: &str, text: &str) -> Result<Proxy, Error> {
    // The value may hold a password: it is not repeated.
    let bad = |reason: &str| Error::Setting { setting: name.to_owned(), reason: reason.to_owned() };
    let text = text.trim();
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).map_err(|_| bad("it is not a URL such as http://proxy:3128"))?;
    if url.scheme() != "http" {
        return Err(bad("only proxies reached by http:// are supported"));
    }
    let host = url.host_str().ok_or_else(|| bad("it names no host"))?;
    let decode = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let login = (!url.username().is_empty())
        .then(|| {
            let pair = format!("{}:{}", decode(url.username()), decode(url.password().unwrap_or_default()));
            let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                .map_err(|_| bad("its login is not text"))?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        })
        .transpose()?;
    Ok(Proxy { host: host.to_owned(), port: url.port_or_known_default().unwrap_or(80), login })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(no_proxy: &str) -> ProxySettings {
        ProxySettings::from_variables(|name| match name {
            "HTTPS_PROXY" => Some("http://u:p%40ss@proxy.test:3128".to_owned()),
            "http_proxy" => Some("plain.test".to_owned()),
            "NO_PROXY" => Some(no_proxy.to_owned()),
            _ => None,
        })
        .unwrap()
    }

    #[test]
    fn each_scheme_has_its_proxy_with_its_login() {
        let settings = settings("");
        let proxy = settings.for_target("https", "r.test", 443).unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.test", 3128));
        assert_eq!(proxy.login.as_ref().unwrap(), &format!("Basic {}", STANDARD.encode("u:p@ss")));
        let proxy = settings.for_target("http", "r.test", 80).unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port, &proxy.login), ("plain.test", 80, &None));
    }

    #[test]
    fn exceptions_follow_the_usual_rules() {
        let direct = |no_proxy: &str, host: &str, port: u16| {
            settings(no_proxy).for_target("https", host, port).is_none()
        };
        assert!(direct("", "localhost", 5050) && direct("", "127.0.0.1", 1) && direct("", "[::1]", 1));
        assert!(direct("*", "r.test", 443));
        assert!(direct("a.b, r.test", "r.test", 443) && direct("r.test", "x.r.test", 443));
        assert!(!direct("r.test", "xr.test", 443) && !direct(".r.test", "r.test", 443));
        assert!(direct(".r.test", "x.r.test", 443) && direct("*.r.test", "x.r.test", 443));
        assert!(direct("r.test:5050", "r.test", 5050) && !direct("r.test:5050", "r.test", 443));
        assert!(direct("10.0.0.0/8", "10.1.2.3", 443) && !direct("10.0.0.0/8", "11.1.2.3", 443));
        assert!(direct("0.0.0.0/0", "11.1.2.3", 443) && direct("fd00::/8", "[fd00::1]", 443));
        assert!(direct("172.21.0.1", "172.21.0.1", 5050) && !direct("172.21.0.1", "172.21.0.10", 5050));
    }

    #[test]
    fn a_proxy_by_tls_is_refused_without_repeating_its_password() {
        let error = parse("HTTPS_PROXY", "https://u:hunter2@proxy").err().unwrap().to_string();
        assert!(error.contains("HTTPS_PROXY") && !error.contains("hunter2"));
    }

    proptest! {
        #[test]
        fn matching_never_panics(entry in "[-a-z0-9.:/*\\[\\]]{0,20}", host in "[a-z0-9.:]{0,20}", port in any::<u16>()) {
            let _ = matches(&entry, &host, host.parse().ok(), port);
        }
    }
}
