//! Streaming digests whose state can be saved: a hasher restored from a [`HashState`] goes on exactly where
//! the saved one stood, in another process or on another machine.

use std::fmt;

use sha2::{
    Digest as _, Sha256, Sha512,
    digest::common::hazmat::{DeserializeStateError, SerializableState, SerializedState},
};

use crate::{Algorithm, Digest};

/// A digest in the making.
#[derive(Clone)]
pub struct DigestHasher {
    state: State,
    length: u64,
}

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// A saved [`DigestHasher`]: the algorithm, the bytes hashed so far and the algorithm's inner state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashState {
    pub algorithm: Algorithm,
    /// How many bytes went in.
    pub length: u64,
    /// Opaque; only [`DigestHasher::restore`] reads it.
    pub state: Vec<u8>,
}

impl DigestHasher {
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, length: 0 }
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.state {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// How many bytes went in.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn update(&mut self, chunk: &[u8]) {
        self.length += chunk.len() as u64;
        match &mut self.state {
            State::Sha256(hasher) => hasher.update(chunk),
            State::Sha512(hasher) => hasher.update(chunk),
        }
    }

    pub fn finish(self) -> Digest {
        let algorithm = self.algorithm();
        let digest = match self.state {
            State::Sha256(hasher) => Digest::from_bytes(algorithm, &hasher.finalize()),
            State::Sha512(hasher) => Digest::from_bytes(algorithm, &hasher.finalize()),
        };
        digest.expect("a hash function gives its own length")
    }

    /// Saves the state; the hasher can be used further.
    pub fn save(&self) -> HashState {
        let state = match &self.state {
            State::Sha256(hasher) => hasher.serialize().to_vec(),
            State::Sha512(hasher) => hasher.serialize().to_vec(),
        };
        HashState { algorithm: self.algorithm(), length: self.length, state }
    }

    /// Goes on from a saved state; `None` if it is damaged.
    pub fn restore(saved: &HashState) -> Option<Self> {
        fn read<H: SerializableState>(raw: &[u8]) -> Option<H> {
            let raw = SerializedState::<H>::try_from(raw).ok()?;
            H::deserialize(&raw).map_err(|_: DeserializeStateError| ()).ok()
        }
        let state = match saved.algorithm {
            Algorithm::Sha256 => State::Sha256(read(&saved.state)?),
            Algorithm::Sha512 => State::Sha512(read(&saved.state)?),
        };
        Some(Self { state, length: saved.length })
    }
}

impl fmt::Debug for DigestHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DigestHasher({}, {} bytes)", self.algorithm(), self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_restored_hasher_goes_on_where_it_stood(
            content in proptest::collection::vec(any::<u8>(), 0..600),
            cut in 0_usize..600,
        ) {
            let cut = cut.min(content.len());
            for algorithm in Algorithm::ALL {
                let mut first = DigestHasher::new(algorithm);
                first.update(&content[..cut]);
                let saved = first.save();
                prop_assert_eq!(saved.length, cut as u64);
                let mut second = DigestHasher::restore(&saved).unwrap();
                second.update(&content[cut..]);
                prop_assert_eq!(second.length(), content.len() as u64);
                prop_assert_eq!(second.finish(), Digest::of(algorithm, &content));
            }
        }
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let mut saved = DigestHasher::new(Algorithm::Sha256).save();
        saved.state.pop();
        assert!(DigestHasher::restore(&saved).is_none());
    }
}
