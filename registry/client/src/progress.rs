//! Progress of transfers, for whoever shows it.

use registry_types::Digest;

/// Which way a blob travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Pull,
    Push,
}

/// Told how far each blob has come. Called from the transfer itself: it must return at once.
pub trait Progress: Send + Sync {
    /// `position` bytes of the blob have arrived or were sent. It goes back when a transfer starts over from an
    /// earlier place.
    fn position(&self, direction: Direction, digest: &Digest, position: u64);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoProgress;

impl Progress for NoProgress {
    fn position(&self, _direction: Direction, _digest: &Digest, _position: u64) {}
}
