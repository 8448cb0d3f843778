//! The files of a local image by name and by digest: in a folder, or within a tar file, read by position.

use std::{
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::stream;
use registry_types::{Descriptor, Digest, DigestHasher};

use crate::{
    BlobContent, BlobStream, Error, Manifest,
    manifest::LONGEST_MANIFEST,
    pull::verified,
    transport::{PIECE, Payload},
};

/// A part of a tar file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) start: u64,
    pub(super) length: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Store {
    Folder(Arc<PathBuf>),
    Tar(Arc<Tar>),
}

#[derive(Debug)]
pub(super) struct Tar {
    /// For messages.
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// By path within the archive, without a leading `./`.
    pub(super) entries: HashMap<String, Extent>,
    /// Blobs that lie under other names than a layout gives them, as in archives of `docker save`.
    pub(super) blobs: HashMap<Digest, Extent>,
    /// Manifests that are made here, for archives that have none.
    pub(super) made: HashMap<Digest, Bytes>,
}

/// Where a blob lies in a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

impl Store {
    pub(super) fn folder(folder: &Path) -> Self {
        Self::Folder(Arc::new(folder.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Tar(tar) => &tar.path,
        }
    }

    pub(super) fn unreadable(&self, reason: impl Into<String>) -> Error {
        Error::Archive { path: self.path().to_owned(), reason: reason.into() }
    }

    /// A part of the store as something to read; `None` when there is no such file.
    async fn payload(&self, name: &str) -> Result<Option<Payload>, Error> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                match BlobContent::open(&path).await {
                    Ok(content) => Ok(Some(content.into_payload())),
                    Err(Error::Io { source, .. })
                        if matches!(
                            source.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                        ) =>
                    {
                        Ok(None)
                    }
                    Err(error) => Err(error),
                }
            }
            Self::Tar(tar) => Ok(tar.entries.get(name).map(|extent| tar.payload(*extent))),
        }
    }

    /// A short file, whole.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let Some(payload) = self.payload(name).await? else { return Ok(None) };
        if payload.length() > LONGEST_MANIFEST {
            let what = format!("{name} in {}", self.path().display());
            return Err(Error::TooLarge { what, limit: LONGEST_MANIFEST });
        }
        let what = || format!("reading {name} in {}", self.path().display());
        payload.read(0, LONGEST_MANIFEST).await.map(Some).map_err(|error| Error::io(what(), error))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<Payload, Error> {
        let digest = &descriptor.digest;
        if let Self::Tar(tar) = self {
            if let Some(made) = tar.made.get(digest) {
                return Ok(Payload::Bytes(made.clone()));
            }
            if let Some(extent) = tar.blobs.get(digest) {
                return Ok(tar.payload(*extent));
            }
        }
        let payload = self.payload(&blob_path(digest)).await?.ok_or_else(|| Error::NotFound {
            what: format!("blob {digest}"),
            place: self.path().display().to_string(),
        })?;
        if payload.length() != descriptor.size {
            let what = format!("blob {digest} in {}", self.path().display());
            return Err(Error::SizeMismatch { what, expected: descriptor.size, actual: payload.length() });
        }
        Ok(payload)
    }

    pub(super) async fn content(&self, descriptor: &Descriptor) -> Result<BlobContent, Error> {
        self.blob(descriptor).await.map(BlobContent::from_payload)
    }

    pub(super) async fn open(&self, descriptor: &Descriptor) -> Result<BlobStream, Error> {
        self.open_behind(descriptor, DigestHasher::new(descriptor.digest.algorithm())).await
    }

    /// A blob's bytes behind those that `known` has seen.
    pub(super) async fn open_behind(
        &self,
        descriptor: &Descriptor,
        known: DigestHasher,
    ) -> Result<BlobStream, Error> {
        let payload = self.blob(descriptor).await?;
        let what = format!("blob {} in {}", descriptor.digest, self.path().display());
        let reading = format!("reading {what}");
        let pieces = stream::try_unfold(known.length(), move |position| {
            let (payload, reading) = (payload.clone(), reading.clone());
            async move {
                let piece = payload.read(position, PIECE).await.map_err(|error| Error::io(reading, error))?;
                let position = position + piece.len() as u64;
                Ok((!piece.is_empty()).then_some((piece, position)))
            }
        });
        Ok(verified(descriptor, what, known, Box::pin(pieces)))
    }

    pub(super) async fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let what = || format!("manifest {} in {}", descriptor.digest, self.path().display());
        if descriptor.size > LONGEST_MANIFEST {
            return Err(Error::TooLarge { what: what(), limit: LONGEST_MANIFEST });
        }
        let payload = self.blob(descriptor).await?;
        let bytes = payload.read(0, LONGEST_MANIFEST).await.map_err(|error| Error::io(what(), error))?;
        let actual = Digest::of(descriptor.digest.algorithm(), &bytes);
        if actual != descriptor.digest {
            return Err(Error::DigestMismatch { what: what(), expected: descriptor.digest, actual });
        }
        Ok(Manifest { bytes, media_type: descriptor.media_type.clone(), digest: actual })
    }
}

impl Tar {
    pub(super) fn payload(&self, extent: Extent) -> Payload {
        Payload::File { file: Arc::clone(&self.file), start: extent.start, length: extent.length }
    }
}
