//! Blobs sent in one request, and what every upload ends with: the link of what a commit stored.

use registry_auth::{Grant, Push};
use registry_blobs::{BlobStore, BlobWriter, StoredBlob};
use registry_metadata::{Metadata, NewBlob, UploadRecord};
use registry_types::{Digest, RepositoryName};

use crate::{
    CoreError, EventAction, Registry,
    events::Happening,
    upload_body::{Chunks, UploadBody},
    uploads::{NEVER, new_upload},
};

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Stores a blob sent in one request: a client that is cut off starts anew. Only a store that needs it gets a
    /// record of the session.
    pub async fn push_blob(
        &self,
        grant: &Grant<Push>,
        body: UploadBody,
        expected: Digest,
    ) -> Result<(), CoreError> {
        self.refuse_mirrored(grant.repository())?;
        let (registry, grant) = (self.clone(), grant.clone());
        let task = self.running.spawn(async move {
            let record = new_upload(grant.repository(), expected.algorithm());
            let lock = registry.lock_session(record.id).await?;
            if registry.blobs.records_sessions() {
                registry.metadata.create_upload(&record).await?;
            }
            let pushed = registry.push_as(&record, body, expected).await;
            if pushed.is_err() {
                // Whatever went wrong, nobody can go on with these bytes.
                registry.forget_push(&lock, &record).await;
            }
            pushed
        });
        task.await.map_err(|error| CoreError::Internal { reason: error.to_string() })?
    }

    async fn push_as(
        &self,
        record: &UploadRecord,
        body: UploadBody,
        expected: Digest,
    ) -> Result<(), CoreError> {
        let mut writer = self.blobs.resume(record.id, record.writer, &record.progress).await?;
        self.receive(record, &mut writer, Chunks::alone(body), NEVER).await?;
        let _storing = self.digests.storing(&expected).await;
        let stored = writer.commit(&expected).await?;
        let session = self.blobs.records_sessions().then_some(record);
        self.link(&record.repository, expected, stored, session).await
    }

    /// Links what a commit stored and ends the session, if it has a row.
    pub(crate) async fn link(
        &self,
        repository: &RepositoryName,
        digest: Digest,
        stored: StoredBlob,
        session: Option<&UploadRecord>,
    ) -> Result<(), CoreError> {
        let StoredBlob { size, location, leftovers } = stored;
        let blob = NewBlob { digest, size, location: location.clone() };
        let upload = session.map(|session| (&session.id, session.writer));
        let pushed = Happening::to_blob(EventAction::Push, repository, &digest, size);
        let linked = self.metadata.link_blob(repository, &blob, upload, self.telling(pushed)).await?;
        self.told();
        // Of bytes that were here already under another key, the new ones are collected, with all beside them.
        if linked.location == location && !leftovers.is_empty() {
            let blobs = self.blobs.clone();
            // The client need not wait for it.
            self.running.spawn(async move {
                if let Err(error) = blobs.discard(leftovers).await {
                    tracing::warn!(%digest, %error, "cannot remove what an upload left over");
                }
            });
        }
        Ok(())
    }
}
