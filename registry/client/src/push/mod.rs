//! Pushing blobs. A push is done when the registry has answered with the digest, or shows the blob when asked; a cut
//! upload goes on from the offset that the registry names, never from one that we assume.

mod session;
mod stream;

use std::{fs::File, path::Path, sync::Arc};

use bytes::Bytes;
use http::{Method, StatusCode};
use registry_types::{Digest, RepositoryName};

use crate::{
    Error, Repository,
    auth::{Scope, ScopeSet},
    client::Inner,
    reply::Reply,
    transport::Payload,
};
use session::Session;

/// What to push: it can be read more than once, so that an upload can go on after a cut.
#[derive(Debug, Clone)]
pub struct BlobContent(Payload);

impl BlobContent {
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Payload::Bytes(bytes.into()))
    }

    /// `length` bytes of `file` from `start`. The file is read by position; its cursor does not move.
    pub fn file(file: File, start: u64, length: u64) -> Self {
        Self(Payload::File { file: Arc::new(file), start, length })
    }

    /// The whole of the file at `path`.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let named = |error| Error::io(format!("reading {}", path.display()), error);
        let file = tokio::fs::File::open(path).await.map_err(named)?;
        let length = file.metadata().await.map_err(named)?.len();
        Ok(Self::file(file.into_std().await, 0, length))
    }

    pub(crate) fn from_payload(payload: Payload) -> Self {
        Self(payload)
    }

    pub(crate) fn into_payload(self) -> Payload {
        self.0
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.0.length()
    }
}

/// How a blob came into the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    /// It was there already.
    Existed,
    /// The registry took it from another of its repositories; no byte travelled.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// What a request to mount came to.
enum Mounting {
    Done,
    /// The registry wants the bytes and has opened a session for them.
    Session(Session),
}

impl Repository {
    /// Makes sure that the repository holds a blob: looks, mounts it from `from` (of the same registry), uploads.
    pub async fn push_blob(
        &self,
        digest: &Digest,
        content: &BlobContent,
        from: Option<&RepositoryName>,
    ) -> Result<Mount, Error> {
        if self.blob_exists(digest).await? {
            return Ok(Mount::Existed);
        }
        let _permit = Inner::permit(&self.inner.pushes).await;
        let session = match from {
            Some(from) => match self.start_mount(digest, from).await? {
                Mounting::Done => return Ok(Mount::Mounted),
                Mounting::Session(session) => Some(session),
            },
            None => None,
        };
        self.upload_in(session, digest, content, false).await?;
        Ok(Mount::Uploaded)
    }

    /// Asks the registry to take a blob from its repository `from`. `false` when it wants an upload instead.
    pub async fn mount(&self, digest: &Digest, from: &RepositoryName) -> Result<bool, Error> {
        match self.start_mount(digest, from).await? {
            Mounting::Done => Ok(true),
            Mounting::Session(session) => {
                session.cancel(self).await;
                Ok(false)
            }
        }
    }

    async fn start_mount(&self, digest: &Digest, from: &RepositoryName) -> Result<Mounting, Error> {
        let scopes: ScopeSet = [self.push_scope(), Scope::pull(from)].into_iter().collect();
        match self.ask_mount(digest, Some(from), scopes).await {
            // GitLab gives no token at all to a job that asks for a repository it may not read: ask without it.
            Err(Error::Unauthorized { .. } | Error::Denied { .. }) => {
                tracing::debug!(%digest, %from, "the mount is not allowed; asking without its source");
                self.ask_mount(digest, None, self.push_scope().into()).await
            }
            outcome => outcome,
        }
    }

    async fn ask_mount(
        &self,
        digest: &Digest,
        from: Option<&RepositoryName>,
        scopes: ScopeSet,
    ) -> Result<Mounting, Error> {
        let mut url = self.url("blobs/uploads/").await?;
        url.query_pairs_mut().append_pair("mount", &digest.to_string());
        if let Some(from) = from {
            url.query_pairs_mut().append_pair("from", from.as_str());
        }
        let action = format!("mounting blob {digest} into {}", self.name);
        let mut call = self.call(Method::POST, url, scopes, action);
        call.repeatable = true;
        let reply = self.expect(&call, &[201, 202]).await?;
        if reply.status() == StatusCode::CREATED {
            self.check_committed(reply, digest).await?;
            return Ok(Mounting::Done);
        }
        Ok(Mounting::Session(Session::open(self, reply).await?))
    }

    /// Uploads a blob in one request; after a cut, what is missing in chunks.
    pub async fn upload(&self, digest: &Digest, content: &BlobContent) -> Result<(), Error> {
        let _permit = Inner::permit(&self.inner.pushes).await;
        self.upload_in(None, digest, content, false).await
    }

    /// Uploads a blob in chunks from the start: for proxies that bound the length of a request.
    pub async fn upload_chunked(&self, digest: &Digest, content: &BlobContent) -> Result<(), Error> {
        let _permit = Inner::permit(&self.inner.pushes).await;
        self.upload_in(None, digest, content, true).await
    }

    async fn start_upload(&self) -> Result<Session, Error> {
        let url = self.url("blobs/uploads/").await?;
        let action = format!("starting an upload to {}", self.name);
        let mut call = self.call(Method::POST, url, self.push_scope(), action);
        // A session that nobody uses harms nobody: registries drop them after a while.
        call.repeatable = true;
        Session::open(self, self.expect(&call, &[202]).await?).await
    }

    async fn upload_in(
        &self,
        session: Option<Session>,
        digest: &Digest,
        content: &BlobContent,
        mut chunked: bool,
    ) -> Result<(), Error> {
        let payload = &content.0;
        let mut session = match session {
            Some(session) => session,
            None => self.start_upload().await?,
        };
        // Going on is worth it while the registry gets further than ever before; a session begun anew is no progress.
        let (mut attempt, mut furthest) = (0, 0);
        loop {
            let outcome = if session.offset == 0 && !chunked {
                session.put(self, digest, payload.clone()).await
            } else {
                session.send_from(self, digest, payload).await
            };
            let error = match outcome {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match &error {
                // Longer than a proxy lets through at once.
                Error::Registry { status: 413, .. } if !chunked => {}
                // Not where the registry stands, or its session is gone.
                Error::Registry { status: 416, .. } | Error::NotFound { .. } => {}
                _ if error.is_transient() => {}
                _ => {
                    session.cancel(self).await;
                    return Err(error);
                }
            }
            attempt = if session.offset > furthest { 1 } else { attempt + 1 };
            furthest = furthest.max(session.offset);
            let Some(pause) = self.inner.retry.pause(attempt, None) else { return Err(error) };
            tracing::debug!(%error, offset = session.offset, "an upload was cut and goes on");
            tokio::time::sleep(pause).await;
            chunked = true;
            let stuck = attempt > 1 && matches!(error, Error::Registry { status: 416, .. });
            match session.ask_offset(self).await {
                Ok(true) if !stuck && session.offset <= payload.length() => {}
                _ => {
                    // The last answer may have been lost, not the upload.
                    if self.blob_exists(digest).await? {
                        return Ok(());
                    }
                    session = self.start_upload().await?;
                }
            }
        }
    }

    /// The registry's answer to a finished upload or mount, against what was sent.
    async fn check_committed(&self, reply: Reply, digest: &Digest) -> Result<(), Error> {
        match reply.digest()? {
            // Another algorithm's digest of the same bytes cannot be compared; the blob can be asked for.
            Some(claimed) if claimed.algorithm() == digest.algorithm() => {
                reply.discard().await;
                if claimed != *digest {
                    let what = format!("the registry's copy of blob {digest} of {}", self.name);
                    return Err(Error::DigestMismatch { what, expected: *digest, actual: claimed });
                }
                Ok(())
            }
            _ => {
                reply.discard().await;
                if self.blob_exists(digest).await? {
                    return Ok(());
                }
                Err(Error::reply(&self.host.name, format!("it took blob {digest} and does not have it")))
            }
        }
    }
}
