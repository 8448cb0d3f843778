//! The body for TLS: gives the file as windows mapped into memory, so that the encryption reads the page cache
//! itself and the copy of a read is saved.
//!
//! Windows are bounded in length and in number for the whole process; a body that gets none copies through pooled
//! buffers instead, and so do small pieces, for which a mapping costs more than a copy. A window is unmapped
//! when its last slice is dropped. Its pages are read in before it is handed on, so that no worker waits for
//! the disk in a page fault.

use std::{
    ffi::c_void,
    fs::File,
    io,
    pin::Pin,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rustix::mm::{MapFlags, ProtFlags};

use crate::{PooledBody, page_cache::Warmer};

/// Length of a window, in bytes, and its alignment in the file. Measured, in CPU seconds per GiB for mapping,
/// touching and unmapping: 0.15 with 64 KiB, 0.07 with 256 KiB, 0.06 with 1 MiB, 0.02 with 2 MiB, where the
/// kernel maps a large folio by one entry, and no less with 8 MiB. Reading through a 64 KiB buffer costs 0.08.
const WINDOW_LENGTH: u64 = 2 << 20;

/// Shorter pieces than this are copied, since mapping them costs as much.
const SHORTEST_WINDOW: u64 = 512 << 10;

/// Windows mapped at once in the whole process, 16 MiB in all. Mapped pages count as the process's memory, and
/// a window of a slow reader stays; with a handful, the cores that encrypt have theirs all the same.
const MOST_WINDOWS: usize = 8;

static WINDOWS: AtomicUsize = AtomicUsize::new(0);

/// `length` bytes of a file, mapped where that pays. For any stream that reads the chunks, TLS above all. The
/// file must never be truncated or changed while the body or one of its chunks lives.
#[derive(Debug)]
pub struct MappedBody {
    /// Where the body stands, and the way to go on without a window.
    copied: PooledBody,
    warmer: Warmer,
    /// Room for the window being warmed.
    room: Option<Room>,
}

impl MappedBody {
    /// A body of `length` bytes of `file` from `offset`; it fails if the file is shorter than that.
    pub fn new(file: Arc<File>, offset: u64, length: u64) -> Self {
        Self { copied: PooledBody::new(file, offset, length), warmer: Warmer::default(), room: None }
    }

    /// The next window; `None` when this piece is to be copied.
    fn poll_window(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let (offset, remaining) = (self.copied.offset(), self.copied.remaining());
        let length = remaining.min(WINDOW_LENGTH - offset % WINDOW_LENGTH);
        if length < SHORTEST_WINDOW || self.copied.is_reading() {
            return Poll::Ready(Ok(None));
        }
        if self.room.is_none() {
            self.room = Room::take();
        }
        if self.room.is_none() {
            return Poll::Ready(Ok(None));
        }
        ready!(self.warmer.poll_cached(context, self.copied.file(), offset, length))?;
        let Some(room) = self.room.take() else { return Poll::Ready(Ok(None)) };
        let window = Window::map(room, self.copied.file(), offset, length as usize);
        Poll::Ready(Ok(window.map(|window| {
            self.copied.skip(length);
            Bytes::from_owner(window)
        })))
    }
}

impl Body for MappedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let body = self.get_mut();
        match ready!(body.poll_window(context)) {
            Ok(Some(window)) => Poll::Ready(Some(Ok(Frame::data(window)))),
            Ok(None) => Pin::new(&mut body.copied).poll_frame(context),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.copied.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.copied.size_hint()
    }
}

/// The right to map one window.
#[derive(Debug)]
struct Room;

impl Room {
    fn take() -> Option<Self> {
        let taken = WINDOWS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |mapped| {
            (mapped < MOST_WINDOWS).then_some(mapped + 1)
        });
        // Not `then_some(Self)`: it would make, and so give back, a room that was never taken.
        taken.is_ok().then(|| Self)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        WINDOWS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A mapped piece of a file.
#[derive(Debug)]
struct Window {
    /// Start of the mapping, on a page border.
    start: *mut c_void,
    /// Length of the mapping.
    mapped: usize,
    /// Where in the mapping the wanted bytes begin.
    skipped: usize,
    _room: Room,
}

#[expect(unsafe_code, reason = "a raw pointer stops the automatic implementation")]
// SAFETY: the mapping is only read and belongs to no thread, so it may be used and unmapped on any.
unsafe impl Send for Window {}

impl Window {
    /// Maps `length` bytes at `offset`; `None` where the kernel will not.
    #[expect(unsafe_code, reason = "mapping memory")]
    fn map(room: Room, file: &File, offset: u64, length: usize) -> Option<Self> {
        let skipped = offset as usize % rustix::param::page_size();
        let mapped = skipped + length;
        let offset = offset - skipped as u64;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing, and only this window knows
        // it until it is unmapped.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), mapped, ProtFlags::READ, MapFlags::SHARED, file, offset)
        };
        Some(Self { start: start.ok()?, mapped, skipped, _room: room })
    }
}

impl AsRef<[u8]> for Window {
    #[expect(unsafe_code, reason = "reading mapped memory")]
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` is `mapped` bytes long, readable, and lives until `drop`. The bytes do not change under
        // the reader: a body is given finished blobs, which the store never writes to or truncates (they are
        // renamed into place and unlinked, and a mapping outlives both), in a folder locked against other
        // writers. So a read past the file's end, which would be SIGBUS, cannot happen either: the pages were
        // read in through the file just before, which finds a file that is too short and a disk that fails,
        // and gives an error. A page evicted since then whose second read fails is a failing disk under memory
        // pressure: the process ends, which is defined, and its stores are made to survive that.
        let whole = unsafe { std::slice::from_raw_parts(self.start.cast::<u8>(), self.mapped) };
        whole.get(self.skipped..).unwrap_or_default()
    }
}

impl Drop for Window {
    #[expect(unsafe_code, reason = "unmapping memory")]
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and every slice of it borrowed from `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.start, self.mapped) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, task::Waker};

    use super::*;

    /// The mappings of the file with this inode number that the process has.
    fn mappings(inode: u64) -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
        maps.lines().filter(|line| line.split_whitespace().nth(4) == Some(&inode.to_string())).count()
    }

    #[test]
    fn windows_are_bounded_for_the_process_unmapped_after_use_and_replaced_by_copies() {
        let length = (MOST_WINDOWS as u64 + 2) * WINDOW_LENGTH;
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![7; length as usize]).expect("written");
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("metadata"));
        let mut body = MappedBody::new(Arc::new(file), 0, length);
        let mut context = Context::from_waker(Waker::noop());
        let mut chunks = Vec::new();
        while let Poll::Ready(Some(frame)) = Pin::new(&mut body).poll_frame(&mut context) {
            chunks.push(frame.expect("readable").into_data().expect("data"));
        }
        assert!(body.is_end_stream());
        assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>() as u64, length);
        let windows = chunks.iter().filter(|chunk| chunk.len() as u64 == WINDOW_LENGTH).count();
        assert_eq!(windows, MOST_WINDOWS, "the rest is copied");
        // Neighbours may show as one.
        assert!((1..=MOST_WINDOWS).contains(&mappings(inode)), "{} mappings", mappings(inode));
        drop(chunks);
        assert_eq!((mappings(inode), WINDOWS.load(Ordering::Relaxed)), (0, 0));
    }
}
