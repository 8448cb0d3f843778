//! What is asked before a byte of an upload is read: whether it may be as long as it says, and how long it may
//! become. What cannot end as a blob is refused before it is stored, or ended where it becomes too long.
//!
//! Quotas are counted where a blob is linked, exactly and each distinct blob once. What is asked here is the room
//! of that moment, so uploads that run at once may all pass and one of them fail in the end; and when a quota is
//! full, an upload is refused here even of a blob that another repository under the quota has, which a mount
//! still links.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use registry_auth::{Grant, Push};
use registry_blobs::BlobStore;
use registry_metadata::Metadata;
use registry_types::{RepositoryName, UploadId};

use crate::{BodyError, CoreError, Registry, UploadBody};

/// How many bytes more an upload may bring.
#[derive(Debug)]
pub struct Admission {
    /// Bytes, and the answer to one more.
    allowed: Option<(u64, CoreError)>,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Asks for an upload, or for the next request of `session`, that says it brings `announced` bytes.
    ///
    /// # Errors
    /// [`CoreError::BlobTooLong`] and [`CoreError::QuotaExceeded`]; nothing of the session was changed.
    pub async fn admit(
        &self,
        grant: &Grant<Push>,
        session: Option<UploadId>,
        announced: Option<u64>,
    ) -> Result<Admission, CoreError> {
        let room = self.metadata.quota_room(grant.repository()).await?;
        let largest = self.limits.layer_bytes;
        if room.is_none() && largest.is_none() {
            return Ok(Admission { allowed: None });
        }
        let before = match session {
            Some(id) => self.upload_status(grant, id).await?.length,
            None => 0,
        };
        let of_layer = largest.map(|limit| (limit.saturating_sub(before), CoreError::BlobTooLong { limit }));
        let of_quota = match room {
            Some(room) => {
                Some((room.saturating_sub(before), self.quota_refusal(grant.repository(), room).await?))
            }
            None => None,
        };
        // A full quota takes nothing at all; a session of the largest length may still be ended.
        if room == Some(0)
            && let Some((_, refusal)) = of_quota
        {
            return Err(refusal);
        }
        let Some((bytes, refusal)) = of_layer.into_iter().chain(of_quota).min_by_key(|(bytes, _)| *bytes)
        else {
            return Ok(Admission { allowed: None });
        };
        if announced.is_some_and(|announced| announced > bytes) {
            return Err(refusal);
        }
        Ok(Admission { allowed: Some((bytes, refusal)) })
    }

    /// Asks for a blob of `size` bytes that comes from upstream, as [`Registry::admit`] does for one that is pushed.
    ///
    /// # Errors
    /// [`CoreError::BlobTooLong`] and [`CoreError::QuotaExceeded`].
    pub(crate) async fn admit_blob(&self, repository: &RepositoryName, size: u64) -> Result<(), CoreError> {
        if let Some(limit) = self.limits.layer_bytes.filter(|limit| size > *limit) {
            return Err(CoreError::BlobTooLong { limit });
        }
        match self.metadata.quota_room(repository).await? {
            Some(room) if size > room => Err(self.quota_refusal(repository, room).await?),
            _ => Ok(()),
        }
    }

    /// The error for an upload that `room` bytes do not hold, with the numbers of the quota that leaves so few.
    async fn quota_refusal(&self, repository: &RepositoryName, room: u64) -> Result<CoreError, CoreError> {
        let quotas = self.metadata.quotas().await?;
        let covering = quotas.into_iter().filter(|quota| quota.prefix.covers(repository));
        let tightest = covering.min_by_key(|quota| quota.limit_bytes.saturating_sub(quota.used_bytes));
        Ok(match tightest {
            Some(quota) => CoreError::QuotaExceeded {
                prefix: quota.prefix,
                limit: quota.limit_bytes,
                used: quota.used_bytes,
            },
            // It was removed since the room was asked for: the client tries again.
            None => CoreError::Unavailable {
                reason: format!("a quota that left {room} bytes has just been removed"),
            },
        })
    }
}

impl Admission {
    /// The body, which ends with the refusal before its first byte too many.
    pub fn bound(self, body: UploadBody) -> UploadBody {
        let Some((bytes, refusal)) = self.allowed else { return body };
        Box::pin(futures_util::stream::unfold((body, bytes, Some(refusal)), next_within))
    }
}

type Bounded = (UploadBody, u64, Option<CoreError>);
type Chunk = <Pin<Box<dyn Stream<Item = Result<bytes::Bytes, BodyError>> + Send>> as Stream>::Item;

async fn next_within((mut body, left, mut refusal): Bounded) -> Option<(Chunk, Bounded)> {
    refusal.as_ref()?;
    let chunk = match body.next().await? {
        Ok(chunk) if chunk.len() as u64 > left => Err(BodyError::Refused(Box::new(refusal.take()?))),
        chunk => chunk,
    };
    let left = left - chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
    Some((chunk, (body, left, refusal)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn read(allowed: Option<u64>, chunks: &[&'static [u8]]) -> (usize, Option<BodyError>) {
        let body: UploadBody = Box::pin(futures_util::stream::iter(
            chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect::<Vec<_>>(),
        ));
        let allowed = allowed.map(|bytes| (bytes, CoreError::BlobTooLong { limit: 5 }));
        let mut body = Admission { allowed }.bound(body);
        let mut length = 0;
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => length += chunk.len(),
                Err(error) => {
                    assert!(body.next().await.is_none(), "the body goes on behind the refusal");
                    return (length, Some(error));
                }
            }
        }
        (length, None)
    }

    #[tokio::test]
    async fn a_body_ends_before_its_first_byte_too_many() {
        assert!(matches!(read(Some(5), &[b"abc", b"de"]).await, (5, None)));
        assert!(matches!(read(None, &[b"abc", b"def"]).await, (6, None)));
        let (length, refusal) = read(Some(5), &[b"abc", b"def", b"g"]).await;
        assert_eq!(length, 3);
        assert!(
            matches!(refusal, Some(BodyError::Refused(error)) if matches!(*error, CoreError::BlobTooLong { .. }))
        );
    }
}
