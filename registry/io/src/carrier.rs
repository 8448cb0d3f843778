//! The carrier: a stretch of address space whose slices stand for pieces of files on their way through hyper.
//!
//! hyper counts and queues `Bytes`, so a file piece travels as a slice of this mapping. The slice's address says
//! which piece it is; what the memory holds is never sent. A [`CarrierTable`] belongs to one connection and
//! guarantees that every address leads to at most one live piece, and that a piece which was taken away
//! unsent (a body dropped half-way, a layer that copied the placeholder) makes the connection unusable rather
//! than wrong.

use std::{
    fs::File,
    ptr,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags};

/// Longest piece, in bytes, and so the most one `sendfile` call moves. 1 MiB was fastest when measured (4 and
/// 8 MiB were slower), and it lets other connections of the same worker have their turn.
pub(crate) const PIECE_LENGTH: usize = 1 << 20;

/// Pieces of one connection that can be alive at once. hyper queues at most 16 buffers and one is being made.
const SLOTS: usize = 32;

/// The process-wide mapping. Only address space: no page of it is touched in sending.
static CARRIER: LazyLock<Option<&'static [u8]>> = LazyLock::new(map);

#[expect(unsafe_code, reason = "mapping memory")]
fn map() -> Option<&'static [u8]> {
    let length = SLOTS * PIECE_LENGTH;
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing. It is readable and
    // holds zeros, nobody can write to it, and it is never unmapped, so a `'static` shared slice of it is valid.
    unsafe {
        let start = rustix::mm::mmap_anonymous(ptr::null_mut(), length, ProtFlags::READ, flags).ok()?;
        Some(std::slice::from_raw_parts(start.cast::<u8>(), length))
    }
}

/// A piece of a file on its way to the socket.
#[derive(Debug)]
struct Piece {
    file: Arc<File>,
    offset: u64,
    length: usize,
    /// Bytes from the piece's start that the socket took.
    sent: usize,
}

/// What an address in the carrier stands for.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) file: Arc<File>,
    /// Where in the file.
    pub(crate) offset: u64,
    slot: usize,
    within: usize,
}

/// The live pieces of one connection.
#[derive(Debug, Default)]
pub(crate) struct CarrierTable {
    state: Mutex<TableState>,
}

#[derive(Debug, Default)]
struct TableState {
    pieces: [Option<Piece>; SLOTS],
    /// Where the search for a free slot goes on, so that an address is not used again at once.
    next: usize,
    broken: bool,
}

/// Whether this process has a carrier; without one, bodies copy.
pub(crate) fn is_available() -> bool {
    CARRIER.is_some()
}

/// True when `slice` lies in the carrier.
pub(crate) fn holds(slice: &[u8]) -> bool {
    position(slice).is_some()
}

fn position(slice: &[u8]) -> Option<usize> {
    let carrier = (*CARRIER)?;
    let position = (slice.as_ptr() as usize).checked_sub(carrier.as_ptr() as usize)?;
    (!slice.is_empty() && position < carrier.len()).then_some(position)
}

impl CarrierTable {
    fn lock(&self) -> MutexGuard<'_, TableState> {
        // Every change under this lock is a single assignment, so a panicking holder leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `length` bytes of `file` at `offset` an address. `None` when too many pieces are alive, or when
    /// there is no carrier.
    pub(crate) fn admit(self: &Arc<Self>, file: Arc<File>, offset: u64, length: usize) -> Option<Bytes> {
        debug_assert!(length <= PIECE_LENGTH, "a piece fits its slot");
        if !is_available() {
            return None;
        }
        let mut state = self.lock();
        let slot = (0..SLOTS)
            .map(|step| (state.next + step) % SLOTS)
            .find(|&slot| state.pieces.get(slot).is_some_and(Option::is_none))?;
        state.next = (slot + 1) % SLOTS;
        *state.pieces.get_mut(slot)? = Some(Piece { file, offset, length, sent: 0 });
        drop(state);
        Some(Bytes::from_owner(Placeholder { table: Arc::clone(self), slot, length }))
    }

    /// What `slice` stands for; `None` if it stands for nothing of this connection.
    pub(crate) fn target(&self, slice: &[u8]) -> Option<Target> {
        let position = position(slice)?;
        let (slot, within) = (position / PIECE_LENGTH, position % PIECE_LENGTH);
        let state = self.lock();
        let piece = state.pieces.get(slot)?.as_ref()?;
        (within + slice.len() <= piece.length).then(|| Target {
            file: Arc::clone(&piece.file),
            offset: piece.offset + within as u64,
            slot,
            within,
        })
    }

    /// Notes that the socket took `count` bytes of `target`.
    pub(crate) fn sent(&self, target: &Target, count: usize) {
        if let Some(Some(piece)) = self.lock().pieces.get_mut(target.slot) {
            // Bytes skipped over count as unsent for ever: `sent` only grows without gaps.
            if piece.sent == target.within {
                piece.sent += count;
            }
        }
    }

    /// Makes every later write fail: what the client has got is not the start of a whole response.
    pub(crate) fn break_connection(&self) {
        self.lock().broken = true;
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.lock().broken
    }
}

/// Owner of a carrier slice; its end is the piece's end.
struct Placeholder {
    table: Arc<CarrierTable>,
    slot: usize,
    length: usize,
}

impl AsRef<[u8]> for Placeholder {
    fn as_ref(&self) -> &[u8] {
        let start = self.slot * PIECE_LENGTH;
        CARRIER.and_then(|carrier| carrier.get(start..start + self.length)).unwrap_or_default()
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        let piece = state.pieces.get_mut(self.slot).and_then(Option::take);
        if piece.is_some_and(|piece| piece.sent < piece.length) {
            state.broken = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Arc<File> {
        Arc::new(tempfile::tempfile().expect("a temporary file"))
    }

    #[test]
    fn an_address_leads_to_its_piece_only() {
        let table = Arc::new(CarrierTable::default());
        let first = table.admit(file(), 100, 50).expect("a slot");
        let second = table.admit(file(), 7000, PIECE_LENGTH).expect("a slot");
        assert_eq!(table.target(&first).expect("live").offset, 100);
        assert_eq!(table.target(&first[20..]).expect("live").offset, 120);
        let last = table.target(&second[PIECE_LENGTH - 1..]).expect("live");
        assert_eq!(last.offset, 7000 + PIECE_LENGTH as u64 - 1);
        assert!(!holds(b"ordinary memory") && table.target(b"ordinary memory").is_none());
        let stranger = CarrierTable::default();
        assert!(stranger.target(&first).is_none(), "another connection's slice is not known here");
    }

    #[test]
    fn a_piece_sent_whole_leaves_the_connection_sound() {
        let table = Arc::new(CarrierTable::default());
        let mut bytes = table.admit(file(), 0, 50).expect("a slot");
        for count in [20, 30] {
            let target = table.target(&bytes).expect("live");
            table.sent(&target, count);
            bytes = bytes.slice(count..);
        }
        drop(bytes);
        assert!(!table.is_broken());
    }

    #[test]
    fn a_piece_taken_away_unsent_breaks_the_connection() {
        let table = Arc::new(CarrierTable::default());
        let bytes = table.admit(file(), 0, 50).expect("a slot");
        let target = table.target(&bytes).expect("live");
        table.sent(&target, 49);
        drop(bytes);
        assert!(table.is_broken());
    }

    #[test]
    fn a_gap_in_what_was_sent_breaks_the_connection() {
        let table = Arc::new(CarrierTable::default());
        let bytes = table.admit(file(), 0, 50).expect("a slot");
        let target = table.target(&bytes[10..]).expect("live");
        table.sent(&target, 40);
        drop(bytes);
        assert!(table.is_broken());
    }

    #[test]
    fn slots_are_bounded_and_come_back() {
        let table = Arc::new(CarrierTable::default());
        let pieces: Vec<_> = std::iter::from_fn(|| table.admit(file(), 0, 1)).take(SLOTS + 1).collect();
        assert_eq!(pieces.len(), SLOTS);
        drop(pieces);
        assert!(table.admit(file(), 0, 1).is_some());
    }
}
