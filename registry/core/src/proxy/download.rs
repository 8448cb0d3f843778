//! A blob on its way in, as those who wait for it see it: how far it is, its latest bytes, and how it ended.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use registry_types::UploadId;
use tokio::sync::watch;

use crate::CoreError;

/// Latest bytes that are kept for readers who keep up; others read what was stored. More than the blob store lets
/// wait for being written, so that what is no longer here is nearly always there.
const RECENT: usize = 2 << 20;

/// How far a download is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Length of the blob, in bytes, once it is known.
    pub(super) size: Option<u64>,
    /// Bytes that came in, from the beginning of the blob.
    pub(super) received: u64,
    /// The upload session that they are written to.
    pub(super) session: Option<UploadId>,
    /// Stored and linked, or why not.
    pub(super) outcome: Option<Result<(), CoreError>>,
}

#[derive(Debug, Default)]
struct Recent {
    chunks: VecDeque<Bytes>,
    /// Where the first chunk stands in the blob.
    start: u64,
    length: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Download {
    progress: watch::Sender<Progress>,
    recent: Mutex<Recent>,
}

impl Download {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Notes the blob's length, and where the first byte that comes stands.
    pub(super) fn begin(&self, size: u64, position: u64, session: UploadId) {
        *self.recent() = Recent { start: position, ..Recent::default() };
        self.progress.send_modify(|progress| {
            progress.size = Some(size);
            progress.received = position;
            progress.session = Some(session);
        });
    }

    /// Gives the next bytes to those who wait.
    pub(super) fn publish(&self, chunk: &Bytes) {
        let mut recent = self.recent();
        recent.length += chunk.len();
        recent.chunks.push_back(chunk.clone());
        while recent.length > RECENT {
            let Some(oldest) = recent.chunks.pop_front() else { break };
            recent.length -= oldest.len();
            recent.start += oldest.len() as u64;
        }
        drop(recent);
        self.progress.send_modify(|progress| progress.received += chunk.len() as u64);
    }

    pub(super) fn end(&self, outcome: Result<(), CoreError>) {
        self.progress.send_modify(|progress| progress.outcome = Some(outcome));
    }

    /// Bytes at `position`, if they are still here: the rest of the chunk in which it lies.
    pub(super) fn bytes_at(&self, position: u64) -> Option<Bytes> {
        let recent = self.recent();
        let mut start = recent.start;
        if position < start {
            return None;
        }
        for chunk in &recent.chunks {
            let end = start + chunk.len() as u64;
            if position < end {
                return Some(chunk.slice((position - start) as usize..));
            }
            start = end;
        }
        None
    }

    /// The blob's length as soon as it is known; `None` when the blob was here and nothing had to come.
    pub(super) async fn size(&self) -> Result<Option<u64>, CoreError> {
        let mut watch = self.watch();
        loop {
            {
                let progress = watch.borrow_and_update();
                match &progress.outcome {
                    Some(Err(error)) => return Err(error.clone()),
                    Some(Ok(())) => return Ok(progress.size),
                    None if progress.size.is_some() => return Ok(progress.size),
                    None => {}
                }
            }
            changed(&mut watch).await?;
        }
    }

    /// Waits for the end.
    pub(super) async fn ended(&self) -> Result<(), CoreError> {
        let mut watch = self.watch();
        loop {
            if let Some(outcome) = &watch.borrow_and_update().outcome {
                return outcome.clone();
            }
            changed(&mut watch).await?;
        }
    }
}

/// Waits for the next news. The sender lives as long as whoever watches holds the download.
pub(super) async fn changed(watch: &mut watch::Receiver<Progress>) -> Result<(), CoreError> {
    let gone = |_| CoreError::Internal { reason: "a download ended without an outcome".to_owned() };
    watch.changed().await.map_err(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_bytes_are_at_hand_and_bounded() {
        let download = Download::default();
        download.begin(u64::MAX, 10, UploadId::random());
        download.publish(&Bytes::from_static(b"abc"));
        download.publish(&Bytes::from_static(b"defg"));
        assert_eq!(download.bytes_at(9), None);
        assert_eq!(download.bytes_at(10).as_deref(), Some(&b"abc"[..]));
        assert_eq!(download.bytes_at(15).as_deref(), Some(&b"fg"[..]));
        assert_eq!(download.bytes_at(17), None);
        for _ in 0..5 {
            download.publish(&Bytes::from(vec![0; RECENT / 2]));
        }
        assert!(download.recent().length <= RECENT);
        assert_eq!(download.bytes_at(15), None);
        let received = download.watch().borrow().received;
        assert_eq!(received, 17 + 5 * (RECENT as u64 / 2));
        assert_eq!(download.bytes_at(received - 1).map(|bytes| bytes.len()), Some(1));
    }
}
