//! Upload sessions.

use std::future::Future;

use registry_types::{RepositoryName, UploadId};
use time::OffsetDateTime;

use super::Answer;
use crate::{UploadProgress, UploadRecord};

pub trait UploadMetadata: Clone + Send + Sync + 'static {
    fn create_upload(&self, upload: &UploadRecord) -> impl Future<Output = Answer<()>> + Send;

    /// The session, if it belongs to `repository`.
    fn upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> impl Future<Output = Answer<Option<UploadRecord>>> + Send;

    /// The session, if it belongs to `repository`, with a writer number of its own: from now on whoever claimed
    /// it before cannot record progress any more.
    fn claim_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> impl Future<Output = Answer<Option<UploadRecord>>> + Send;

    /// Records durable progress at `now`; false when the session has ended or was claimed again meanwhile.
    fn save_progress(
        &self,
        id: &UploadId,
        writer: u64,
        progress: &UploadProgress,
        now: OffsetDateTime,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Ends a session; false when there was none.
    fn delete_upload(
        &self,
        repository: &RepositoryName,
        id: &UploadId,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Sessions not touched since `before`, oldest first, at most `limit`.
    fn stale_uploads(
        &self,
        before: OffsetDateTime,
        limit: usize,
    ) -> impl Future<Output = Answer<Vec<UploadRecord>>> + Send;

    /// Whether a session with this id exists, in any repository: files without one are garbage.
    fn upload_exists(&self, id: &UploadId) -> impl Future<Output = Answer<bool>> + Send;
}
