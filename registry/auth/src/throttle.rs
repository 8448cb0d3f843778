//! Slows those who guess passwords, by address and by name. Nobody is locked out: waiting always helps, and
//! who has logged in from an address is not slowed there by what others do. Memory is bounded.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::recent::Recent;

/// Failures that cost nothing: people mistype, and a client retries by itself.
const FREE_FAILURES: u32 = 5;

/// The wait after the first failure beyond the free ones; each further one doubles it, up to a bound. For a
/// name it is lower, since an attacker makes its owner wait too.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_ADDRESS_WAIT: Duration = Duration::from_mins(1);
const LONGEST_NAME_WAIT: Duration = Duration::from_secs(15);

/// Failures are forgotten when the last is this old, and so is that a name logged in from an address.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(15);
const KNOWN_FOR: Duration = Duration::from_hours(24);

/// Most addresses, most names and most pairs of both remembered. To push one out by other entries takes half
/// as many failures, each of which costs a password hash: minutes, in which the waits have passed anyway.
const MOST_REMEMBERED: usize = 8192;

/// Longest piece of a name that counts, in bytes: that of an account name, so no two accounts share an entry.
const LONGEST_NAME: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    /// Attempts before this moment are turned away.
    next: Instant,
}

impl Failures {
    fn none(now: Instant) -> Self {
        Self { count: 0, last: now, next: now }
    }

    fn add(&mut self, longest: Duration, now: Instant) {
        if now.saturating_duration_since(self.last) >= FORGOTTEN_AFTER {
            *self = Self::none(now);
        }
        self.count = self.count.saturating_add(1);
        self.last = now;
        if let Some(beyond) = self.count.checked_sub(FREE_FAILURES + 1) {
            let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond)).min(longest);
            self.next = now + wait;
        }
    }

    fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }
}

/// An address for counting: of IPv6 the first 64 bits, since one host has all the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        const HOST_BITS: u128 = u64::MAX as u128;
        match address.to_canonical() {
            IpAddr::V6(address) => Self(IpAddr::V6((address.to_bits() & !HOST_BITS).into())),
            four @ IpAddr::V4(_) => Self(four),
        }
    }
}

#[derive(Debug)]
struct Tables {
    addresses: Recent<Network, Failures>,
    names: Recent<String, Failures>,
    /// Where a name has logged in, when last, and the failures of that pair since.
    known: Recent<(Network, String), (Instant, Failures)>,
}

/// Counts failed logins. The clock is the caller's.
#[derive(Debug)]
pub(crate) struct Throttle(Mutex<Tables>);

impl Default for Throttle {
    fn default() -> Self {
        Self(Mutex::new(Tables {
            addresses: Recent::new(MOST_REMEMBERED),
            names: Recent::new(MOST_REMEMBERED),
            known: Recent::new(MOST_REMEMBERED),
        }))
    }
}

impl Throttle {
    /// Whether a password for `name` from `address` may be looked at now; if not, how long to wait (the
    /// `Retry-After` of a 429). To be asked before the password is checked.
    pub(crate) fn check(&self, address: IpAddr, name: &str, now: Instant) -> Result<(), Duration> {
        let (network, name) = (Network::from(address), counted(name));
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match tables.known(network, &name, now) {
            Some(failures) => failures.wait(now),
            None => {
                let by_address = tables.addresses.get_mut(&network).map(|failures| failures.wait(now));
                let by_name = tables.names.get_mut(&name).map(|failures| failures.wait(now));
                by_address.max(by_name).unwrap_or_default()
            }
        };
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Notes a wrong password or an unknown name.
    pub(crate) fn failed(&self, address: IpAddr, name: &str, now: Instant) {
        let (network, name) = (Network::from(address), counted(name));
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A known pair counts for itself alone, so that a robot with a stale password does not slow all the
        // others behind its gateway, nor its own name elsewhere.
        if let Some(failures) = tables.known(network, &name, now) {
            failures.add(LONGEST_ADDRESS_WAIT, now);
            return;
        }
        add(&mut tables.addresses, network, LONGEST_ADDRESS_WAIT, now);
        add(&mut tables.names, name, LONGEST_NAME_WAIT, now);
    }

    /// Notes a right password. The failures of the address and of the name stay, else an attacker with an
    /// account of his own could wipe them out between guesses.
    pub(crate) fn succeeded(&self, address: IpAddr, name: &str, now: Instant) {
        let pair = (Network::from(address), counted(name));
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.known.insert(pair, (now, Failures::none(now)));
    }
}

impl Tables {
    fn known(&mut self, network: Network, name: &str, now: Instant) -> Option<&mut Failures> {
        let (seen, failures) = self.known.get_mut(&(network, name.to_owned()))?;
        (now.saturating_duration_since(*seen) < KNOWN_FOR).then_some(failures)
    }
}

fn add<K: Eq + std::hash::Hash>(table: &mut Recent<K, Failures>, key: K, longest: Duration, now: Instant) {
    if let Some(failures) = table.get_mut(&key) {
        failures.add(longest, now);
        return;
    }
    let mut failures = Failures::none(now);
    failures.add(longest, now);
    table.insert(key, failures);
}

fn counted(name: &str) -> String {
    let mut end = name.len().min(LONGEST_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn fail(throttle: &Throttle, from: &str, name: &str, times: u32, now: Instant) {
        for _ in 0..times {
            throttle.failed(address(from), name, now);
        }
    }

    #[test]
    fn the_wait_doubles_to_its_bound_and_is_forgotten() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let check = |now| throttle.check(address("192.0.2.1"), "other", now);
        fail(&throttle, "192.0.2.1", "root", FREE_FAILURES, now);
        assert_eq!(check(now), Ok(()));
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            fail(&throttle, "192.0.2.1", "root", 1, now);
            assert_eq!(check(now), Err(SECOND * seconds));
        }
        assert_eq!(check(now + SECOND * 59), Err(SECOND));
        assert_eq!(check(now + SECOND * 60), Ok(()));
        let later = now + FORGOTTEN_AFTER;
        fail(&throttle, "192.0.2.1", "root", 1, later);
        assert_eq!(check(later), Ok(()));
    }

    #[test]
    fn a_name_is_slowed_whatever_the_addresses_and_less_than_an_address() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for host in 0..100 {
            fail(&throttle, &format!("198.51.100.{host}"), "root", 1, now);
        }
        assert_eq!(throttle.check(address("192.0.2.9"), "root", now), Err(LONGEST_NAME_WAIT));
        assert_eq!(throttle.check(address("192.0.2.9"), "eve", now), Ok(()));
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for host in 0..10 {
            fail(&throttle, &format!("2001:db8:1:2::{host}"), &format!("user{host}"), 1, now);
        }
        assert!(throttle.check(address("2001:db8:1:2:ffff::1"), "new", now).is_err());
        assert!(throttle.check(address("2001:db8:1:3::1"), "new", now).is_ok());
        fail(&throttle, "::ffff:192.0.2.1", "x", 10, now);
        assert!(throttle.check(address("192.0.2.1"), "new", now).is_err());
    }

    #[test]
    fn who_is_known_at_an_address_is_slowed_by_his_own_failures_only() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        throttle.succeeded(address("192.0.2.1"), "root", now);
        fail(&throttle, "192.0.2.1", "stale", 50, now);
        fail(&throttle, "203.0.113.5", "root", 50, now);
        assert_eq!(throttle.check(address("192.0.2.1"), "root", now), Ok(()));
        assert!(throttle.check(address("192.0.2.1"), "other", now).is_err());
        assert!(throttle.check(address("192.0.2.7"), "root", now).is_err());
        fail(&throttle, "192.0.2.1", "root", FREE_FAILURES + 1, now);
        assert_eq!(throttle.check(address("192.0.2.1"), "root", now), Err(SECOND));
    }

    #[test]
    fn a_success_does_not_wipe_out_the_failures_of_its_address() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        fail(&throttle, "192.0.2.1", "victim", 50, now);
        throttle.succeeded(address("192.0.2.1"), "mallory", now);
        assert!(throttle.check(address("192.0.2.1"), "victim", now).is_err());
    }

    #[test]
    fn the_tables_are_bounded_and_names_of_any_length_are_taken() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 0..20_000_u32 {
            let from = IpAddr::from(number.to_be_bytes());
            throttle.failed(from, &"é".repeat(number as usize % 200), now);
            throttle.succeeded(from, &number.to_string(), now);
        }
        let tables = throttle.0.lock().unwrap();
        assert!(tables.addresses.len() <= MOST_REMEMBERED && tables.known.len() <= MOST_REMEMBERED);
        assert!(tables.names.len() <= LONGEST_NAME);
    }
}
