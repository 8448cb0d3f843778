//! Downloads that were cut off: each left an upload session with its durable bytes, from which the next one goes on.
//! They are known until the server ends; what an earlier run left is swept like any abandoned upload.

use registry_types::{Digest, RepositoryName, UploadId};

use super::memory::Memory;

/// Sessions that wait for somebody to ask for the blob again. They take disk, so the oldest goes for a new one.
const MOST_PARTIALS: usize = 64;

type Blob = (RepositoryName, Digest);

#[derive(Debug)]
pub(crate) struct Partials(Memory<Blob, UploadId>);

impl Default for Partials {
    fn default() -> Self {
        Self(Memory::new(MOST_PARTIALS))
    }
}

impl Partials {
    /// The session to go on with; it is the caller's now.
    pub(super) fn take(&self, repository: &RepositoryName, digest: &Digest) -> Option<UploadId> {
        self.0.take(&(repository.clone(), *digest))
    }

    /// Leaves a session for the next download; gives one that has to be ended for it.
    pub(super) fn leave(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        id: UploadId,
    ) -> Option<(RepositoryName, UploadId)> {
        let ((repository, _), id) = self.0.put_for((repository.clone(), *digest), id)?;
        Some((repository, id))
    }
}
