//! Bytes that can be made again from a number, so that nobody has to keep them.

use std::sync::OnceLock;

use registry_types::Digest;

/// Largest content, in bytes.
pub(super) const LARGEST: usize = 6 << 20;

/// Where contents begin to differ: in their first bytes, which hold their number.
const HEADER: usize = 16;

/// Content of one blob: different for each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) number: u64,
    pub(super) length: usize,
}

impl Content {
    /// At least long enough to hold its number.
    pub(super) fn new(number: u64, length: usize) -> Self {
        Self { number, length: length.clamp(HEADER, LARGEST) }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = noise()[..self.length].to_vec();
        for (place, byte) in self.number.to_le_bytes().into_iter().enumerate() {
            bytes[place] = byte;
            bytes[place + 8] = byte ^ 0xa5;
        }
        bytes
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::sha256(&self.bytes())
    }
}

/// Bytes without a pattern, made once.
fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(LARGEST);
        while bytes.len() < LARGEST {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_differ_and_come_back() {
        let (one, other) = (Content::new(1, 100), Content::new(2, 100));
        assert_ne!(one.digest(), other.digest());
        assert_eq!(one.bytes(), Content::new(1, 100).bytes());
        assert_eq!(Content::new(1, 0).bytes().len(), HEADER);
        assert_eq!(Content::new(1, usize::MAX).bytes().len(), LARGEST);
    }
}
