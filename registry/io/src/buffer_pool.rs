//! Read buffers that are used again: a fresh allocation of this size is a new mapping with page faults each time.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Mutex, PoisonError},
};

/// Length of a buffer, in bytes. 64 KiB was measured best: it stays in a core's cache between the read and the
/// send, and a slow reader holds no more than this.
pub(crate) const BUFFER_LENGTH: usize = 64 << 10;

/// Buffers kept for later, 2 MiB in all; more than that are freed when they come back.
const KEPT_BUFFERS: usize = 32;

static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer of [`BUFFER_LENGTH`] bytes; it holds what its last user left in it.
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
}

impl Buffer {
    pub(crate) fn take() -> Self {
        let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { bytes: kept.unwrap_or_else(|| vec![0; BUFFER_LENGTH].into_boxed_slice()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT_BUFFERS {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").finish_non_exhaustive()
    }
}

/// A buffer whose first `length` bytes are a body's chunk.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) buffer: Buffer,
    pub(crate) length: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_keeps_no_more_than_its_bound() {
        let taken: Vec<_> = (0..2 * KEPT_BUFFERS).map(|_| Buffer::take()).collect();
        assert!(taken.iter().all(|buffer| buffer.len() == BUFFER_LENGTH));
        drop(taken);
        let kept = FREE.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert!(kept <= KEPT_BUFFERS && kept > 0, "{kept} kept");
    }
}
