//! Port specifications of `EXPOSE`: `port[-port][/protocol]`. An address and a host port in front are read and left
//! out, as Docker does.

use std::net::IpAddr;

/// Each port as `number/protocol`; the error is the reason.
pub(super) fn parse(text: &str) -> Result<Vec<String>, &'static str> {
    let (front, container) = match text.rsplit_once(':') {
        Some((front, container)) => (Some(front), container),
        None => (None, text),
    };
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        _ => return Err("the protocol is none of tcp, udp and sctp"),
    };
    let (first, last) = range(ports)?;
    if let Some(front) = front {
        check_front(front, last - first)?;
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn check_front(front: &str, length: u16) -> Result<(), &'static str> {
    let (address, host) = front.rsplit_once(':').unwrap_or(("", front));
    let address = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err("the address is none");
    }
    if !host.is_empty() {
        let (first, last) = range(host)?;
        if length != 0 && last - first != length {
            return Err("the two ranges differ in length");
        }
    }
    Ok(())
}

fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err("the range ends before it starts") } else { Ok((first, last)) }
}

fn number(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or("a port is a number from 0 to 65535")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn ports() {
        for (text, expected) in [
            ("80", vec!["80/tcp"]),
            ("80/UDP", vec!["80/udp"]),
            ("8000-8002/sctp", vec!["8000/sctp", "8001/sctp", "8002/sctp"]),
            ("127.0.0.1:8080:80", vec!["80/tcp"]),
            ("[::1]:81:80", vec!["80/tcp"]),
            ("::80", vec!["80/tcp"]),
            ("8000-8010:80", vec!["80/tcp"]),
        ] {
            assert_eq!(parse(text), Ok(expected.into_iter().map(str::to_owned).collect()), "{text}");
        }
        for text in ["", "x", "80/icmp", "70000", "90-80", "-1", "80-", "1.2.3:1:2", "1-3:1-2", "+80"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
