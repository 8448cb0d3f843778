//! From a finished session to a blob. The digest is compared before anything is made an object where the hash that
//! ran along can tell it; where the client names the other algorithm, the object is made, read back and compared
//! before anybody learns of it.
//!
//! A crash behind the request that makes the object, or an answer that was lost, leaves the object and a record of
//! the session: the next commit finds it and compares its bytes.

use registry_types::{Algorithm, BlobLocation, Digest, DigestHasher, ObjectKey};

use super::{Shared, read::read_each, remote::RemoteError, state::Multipart, worker::Worker};
use crate::{BlobError, StoredBlob};

type Answer<T> = Result<T, BlobError>;

impl Worker {
    /// Makes the session a blob.
    pub(super) async fn commit(&mut self, expected: &Digest) -> Answer<StoredBlob> {
        self.session.check()?;
        match self.make_blob(expected).await {
            Err(error @ BlobError::DigestMismatch { .. }) => {
                let multipart = self.durable.0.multipart.clone();
                match self.shared.remove_session(self.session.id, multipart.as_ref()).await {
                    Ok(()) => self.session.settle(),
                    Err(error) => {
                        tracing::warn!(id = %self.session.id, %error, "cannot remove an upload yet");
                    }
                }
                Err(error)
            }
            Err(error) => Err(self.give_up(&error)),
            Ok(stored) => {
                self.session.settle();
                Ok(stored)
            }
        }
    }

    async fn make_blob(&mut self, expected: &Digest) -> Answer<StoredBlob> {
        let size = self.hasher.length();
        let hashed_along = self.hasher.algorithm() == expected.algorithm();
        if hashed_along {
            compare(expected, self.hasher.clone().finish())?;
        }
        let key = match self.durable.0.multipart.clone() {
            None => self.store_whole().await?,
            Some(multipart) => {
                if let Err(error) = self.complete(&multipart).await
                    && !self.is_complete(&multipart.key, size, expected).await?
                {
                    return Err(error);
                }
                multipart.key
            }
        };
        if !hashed_along {
            compare(expected, digest_of(&self.shared, &key, size, expected.algorithm()).await?)?;
        }
        let leftovers = std::mem::take(&mut self.durable.0.leftovers);
        Ok(StoredBlob {
            size,
            location: BlobLocation::Key(key),
            leftovers: leftovers.into_iter().map(BlobLocation::Key).collect(),
        })
    }

    async fn complete(&mut self, multipart: &Multipart) -> Answer<()> {
        self.finish_last_part().await?;
        let completed = self.shared.remote.complete(multipart, &self.durable.0.parts).await;
        completed.map_err(|error| match error {
            RemoteError::Absent => BlobError::UploadLost { id: self.session.id },
            error => error.told("complete", &multipart.key),
        })
    }

    /// Whether the object is there already, made by a request whose answer was lost.
    async fn is_complete(&mut self, key: &ObjectKey, size: u64, expected: &Digest) -> Answer<bool> {
        match self.shared.remote.length(key).await {
            Ok(length) if length == size => {
                Ok(digest_of(&self.shared, key, size, expected.algorithm()).await? == *expected)
            }
            // That it cannot be told is not the failure to tell of.
            Ok(_) | Err(_) => Ok(false),
        }
    }
}

fn compare(expected: &Digest, actual: Digest) -> Answer<()> {
    if actual == *expected { Ok(()) } else { Err(BlobError::DigestMismatch { expected: *expected, actual }) }
}

async fn digest_of(shared: &Shared, key: &ObjectKey, size: u64, algorithm: Algorithm) -> Answer<Digest> {
    let mut hasher = DigestHasher::new(algorithm);
    read_each(&shared.remote, key, size, |bytes| hasher.update(&bytes)).await?;
    Ok(hasher.finish())
}
