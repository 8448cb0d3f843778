//! Keeps disk waits off the workers: asks whether a piece of a file is in the page cache, and if not has a
//! thread of the blocking pool read it in.

use std::{
    fs::File,
    future::Future,
    io::{self, IoSliceMut},
    num::NonZeroU64,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use rustix::{
    fs::Advice,
    io::{Errno, ReadWriteFlags},
};
use tokio::task::JoinHandle;

use crate::{buffer_pool::Buffer, zero_copy::shorter_than_expected};

/// How far past the piece at hand the disk is asked to read, in bytes: it works on while the socket takes the
/// piece. Four pieces keep a disk with some milliseconds of latency busy.
const READ_AHEAD: u64 = 4 << 20;

/// What a read that must not wait for the disk gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// This many bytes were there.
    Read(usize),
    /// The disk would have to be waited for.
    Cold,
    /// The file system cannot tell.
    Unknown,
}

/// Reads from the page cache only.
pub(crate) fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<Cached> {
    loop {
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
        return match read {
            Ok(0) if !buffer.is_empty() => Err(shorter_than_expected()),
            Ok(count) => Ok(Cached::Read(count)),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(Cached::Cold),
            // Seccomp filters answer with EPERM where the kernel itself knows the call.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => Ok(Cached::Unknown),
            Err(error) => Err(error.into()),
        };
    }
}

/// Whether the piece can be taken without waiting for the disk, judged by its first and last byte. A file system
/// that cannot tell counts as cached.
fn is_cached(file: &File, offset: u64, length: u64) -> io::Result<bool> {
    for position in [offset, offset + length.saturating_sub(1)] {
        if read_cached(file, &mut [0], position)? == Cached::Cold {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads the piece into the page cache and starts reading what follows it.
fn warm_blocking(file: &File, offset: u64, length: u64) -> io::Result<()> {
    // Advice only: the reads below do the work where a file system takes none.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
    let _ = rustix::fs::fadvise(file, offset, NonZeroU64::new(length + READ_AHEAD), Advice::WillNeed);
    let mut buffer = Buffer::take();
    let end = offset + length;
    let mut position = offset;
    while position < end {
        let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(buffer.len());
        let (space, _) = buffer.split_at_mut(wanted);
        match file.read_at(space, position) {
            Ok(0) => return Err(shorter_than_expected()),
            Ok(count) => position += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Warms a file piece by piece for one reader.
#[derive(Debug, Default)]
pub(crate) struct Warmer {
    job: Option<JoinHandle<io::Result<()>>>,
    /// Everything before this offset was warmed.
    warm_until: u64,
}

impl Warmer {
    /// Ready when `length` bytes at `offset` are in the page cache.
    pub(crate) fn poll_cached(
        &mut self,
        context: &mut Context<'_>,
        file: &Arc<File>,
        offset: u64,
        length: u64,
    ) -> Poll<io::Result<()>> {
        if self.job.is_none() {
            if offset + length <= self.warm_until || is_cached(file, offset, length)? {
                return Poll::Ready(Ok(()));
            }
            self.start(file, offset, length);
        }
        self.poll_job(context)
    }

    /// Has the blocking pool read the piece in; [`Warmer::poll_job`] tells when it has.
    pub(crate) fn start(&mut self, file: &Arc<File>, offset: u64, length: u64) {
        let file = Arc::clone(file);
        self.warm_until = offset + length;
        self.job = Some(tokio::task::spawn_blocking(move || warm_blocking(&file, offset, length)));
    }

    /// Ready when no job is under way.
    pub(crate) fn poll_job(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(job) = self.job.as_mut() else { return Poll::Ready(Ok(())) };
        let done = ready!(Pin::new(job).poll(context));
        self.job = None;
        Poll::Ready(done.map_err(io::Error::other)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_just_written_is_read_without_waiting_and_its_end_is_an_error() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(b"hello").expect("written");
        let mut buffer = [0; 5];
        match read_cached(&file, &mut buffer, 0).expect("readable") {
            Cached::Read(5) => assert_eq!(&buffer, b"hello"),
            Cached::Unknown => {}
            other => panic!("{other:?}"),
        }
        assert!(is_cached(&file, 0, 5).expect("readable"));
        if read_cached(&file, &mut buffer, 0).expect("readable") != Cached::Unknown {
            let error = read_cached(&file, &mut buffer, 5).expect_err("past the end");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn warming_reads_exactly_what_is_there() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(&vec![7; 300_000]).expect("written");
        warm_blocking(&file, 1000, 299_000).expect("all of it is there");
        let error = warm_blocking(&file, 1000, 299_001).expect_err("one byte too many");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
