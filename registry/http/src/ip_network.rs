//! Networks of IP addresses in CIDR notation (RFC 4632, RFC 4291 section 2.3). An IPv4 address that came over an
//! IPv6 socket (`::ffff:192.0.2.1`) is the IPv4 address.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address or a network: use 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotANetwork {
    text: String,
}

/// One address or a network, such as `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpNetwork {
    address: IpAddr,
    /// How many leading bits count.
    prefix: u8,
}

impl IpNetwork {
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Bits of an address of this family.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for IpNetwork {
    type Err = NotANetwork;

    /// Bits behind the prefix are taken and do not count: `10.1.2.3/8` is `10.0.0.0/8` to its writer.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let bad = || NotANetwork { text: text.to_owned() };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix = match prefix {
            // `u8` would take a sign.
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().ok().filter(|prefix| *prefix <= bits(address)).ok_or_else(bad)?
            }
            Some(_) => return Err(bad()),
            None => bits(address),
        };
        // A mapped address would never be met: those of peers are canonical.
        match address.to_canonical() {
            canonical if canonical == address => Ok(Self { address, prefix }),
            canonical if prefix >= 96 => Ok(Self { address: canonical, prefix: prefix - 96 }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        if self.prefix == bits(self.address) { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Serialize for IpNetwork {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IpNetwork {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_only() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.0.0.1", "::a00:1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "192.0.3.7"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "192.0.2.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::1", "::1", "::2"),
        ] {
            let parsed: IpNetwork = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} lacks {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} has {outside}");
            assert_eq!(parsed.to_string().parse::<IpNetwork>().unwrap(), parsed);
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in
            ["", "host", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0/8", "::ffff:0:0/8"]
        {
            assert!(bad.parse::<IpNetwork>().is_err(), "{bad:?} was taken");
        }
    }
}
