//! The bytes of a blob from its upstream, going on with a range after each cut. Each piece is given to the readers and
//! then to the blob store.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use registry_types::Digest;
use tokio_util::sync::CancellationToken;

use super::{UpstreamBytes, UpstreamError, download::Download, mirror::Origin};
use crate::{BodyError, UploadBody};

/// Cuts in a row, without a byte in between, after which a download is given up.
const TRIES: u32 = 4;
/// The pause after the first cut; it doubles each time, so that an upstream which is restarted is waited for a
/// second or two.
const FIRST_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) position: u64,
    /// What is being read, if anything is.
    pub(super) bytes: Option<UpstreamBytes>,
    pub(super) download: Arc<Download>,
    pub(super) stop: CancellationToken,
    /// Why it ended early.
    pub(super) trouble: Trouble,
}

/// Why a source ended early, for whoever gets its body back as cut.
#[derive(Debug, Clone, Default)]
pub(super) struct Trouble(Arc<Mutex<Option<UpstreamError>>>);

impl Trouble {
    pub(super) fn take(&self) -> Option<UpstreamError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, error: UpstreamError) -> BodyError {
        let cut = BodyError::Cut(error.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        cut
    }
}

impl Source {
    pub(super) fn into_body(self) -> UploadBody {
        Box::pin(stream::try_unfold(self, |mut source| async move {
            match source.next().await {
                Ok(piece) => Ok(piece.map(|piece| (piece, source))),
                Err(error) => Err(source.trouble.note(error)),
            }
        }))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        let mut failures = 0;
        loop {
            if self.position == self.size {
                return Ok(None);
            }
            let stop = self.stop.clone();
            let piece = tokio::select! {
                piece = self.piece() => piece,
                () = stop.cancelled() => {
                    return Err(UpstreamError::Away { reason: "the registry is being stopped".to_owned() });
                }
            };
            let error = match piece {
                Ok(piece) if piece.is_empty() => continue,
                Ok(piece) if piece.len() as u64 > self.size - self.position => {
                    let reason = format!("blob {} is longer than it said", self.digest);
                    return Err(UpstreamError::Unusable { reason });
                }
                Ok(piece) => {
                    self.position += piece.len() as u64;
                    self.download.publish(&piece);
                    return Ok(Some(piece));
                }
                Err(error) => error,
            };
            self.bytes = None;
            failures += 1;
            if failures == TRIES || !matches!(error, UpstreamError::Away { .. }) {
                return Err(error);
            }
            tracing::debug!(digest = %self.digest, position = self.position, %error, "a download was cut and goes on");
            tokio::time::sleep(FIRST_PAUSE * (1 << (failures - 1))).await;
        }
    }

    /// The next bytes of this try.
    async fn piece(&mut self) -> Result<Bytes, UpstreamError> {
        if self.bytes.is_none() {
            let Origin { mirror, remote, .. } = &self.origin;
            let blob = mirror.upstream.blob(remote, &self.digest, self.position).await?;
            let changed =
                |reason: &str| UpstreamError::Unusable { reason: format!("blob {} {reason}", self.digest) };
            let blob = blob.ok_or_else(|| changed("has gone while it was read"))?;
            if blob.size != self.size {
                return Err(changed("has another length than before"));
            }
            self.bytes = Some(blob.bytes);
        }
        let cut = || UpstreamError::Away { reason: "it ended a blob too early".to_owned() };
        match &mut self.bytes {
            Some(bytes) => bytes.next().await.unwrap_or_else(|| Err(cut())),
            None => Err(cut()),
        }
    }
}
