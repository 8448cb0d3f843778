//! Places for connections: no more than the process has file descriptors for, and never all of them for one
//! address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Most connections at once. With the buffers of `connection` this bounds their memory.
const MOST_CONNECTIONS: usize = 8192;
/// File descriptors kept for the database, the uploads in hand and the runtime.
const RESERVED_DESCRIPTORS: usize = 256;
/// A connection has its socket and, while it answers, the file of a blob.
const DESCRIPTORS_OF_A_CONNECTION: usize = 2;

/// Raises the limit of open files as far as this process may, and says how many connections fit.
pub(crate) fn connections_that_fit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            limit.current
        }
    };
    let connections = fitting(current);
    tracing::info!(open_files = ?current, connections, "connections are bounded");
    connections
}

/// `None` is no limit.
fn fitting(descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors else { return MOST_CONNECTIONS };
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    let free = descriptors - RESERVED_DESCRIPTORS.min(descriptors / 2);
    (free / DESCRIPTORS_OF_A_CONNECTION).clamp(1, MOST_CONNECTIONS)
}

/// How many connections each address has.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
}

/// A peer's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct PeerPlace {
    peers: Peers,
    address: IpAddr,
}

impl Peers {
    /// One address may have half of all places: a company's whole fleet of runners may stand behind one NAT or
    /// one proxy, yet somebody else always gets in.
    pub(crate) fn new(connections: usize) -> Self {
        Self { open: Arc::default(), most: connections.div_ceil(2) }
    }

    /// `None` when the address has its share.
    pub(crate) fn enter(&self, peer: IpAddr) -> Option<PeerPlace> {
        let address = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        // A proxy on this machine speaks for everybody, and who is on this machine needs no connections to hurt.
        if *count >= self.most && !address.is_loopback() {
            return None;
        }
        *count += 1;
        Some(PeerPlace { peers: self.clone(), address })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut open = self.peers.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network too.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let prefix = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_their_files() {
        assert_eq!(fitting(None), MOST_CONNECTIONS);
        assert_eq!(fitting(Some(1 << 20)), MOST_CONNECTIONS);
        assert_eq!(fitting(Some(1024)), 384);
        assert_eq!(fitting(Some(128)), 32);
        assert_eq!(fitting(Some(1)), 1);
    }

    #[test]
    fn no_address_takes_every_place() {
        let peers = Peers::new(4);
        let enter = |address: &str| peers.enter(address.parse().expect("an address"));
        let held: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1"].map(enter).into_iter().flatten().collect();
        assert_eq!(held.len(), 2);
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        let network: Vec<_> = ["2001:db8::1", "2001:db8::2", "2001:db8::3"].map(enter).into_iter().collect();
        assert!(network.last().is_some_and(Option::is_none));
        let local: Vec<_> = ["127.0.0.1"; 9].map(enter).into_iter().flatten().collect();
        assert_eq!(local.len(), 9);
        drop((held, local));
        assert!(enter("192.0.2.1").is_some());
        drop(network);
        assert!(peers.open.lock().expect("sound").is_empty());
    }
}
