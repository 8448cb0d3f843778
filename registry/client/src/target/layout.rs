//! An OCI layout in a folder as a target. The images that it has stay; `index.json` changes last and by one rename, so
//! a reader never sees a name without its blobs.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::TryStreamExt as _;
use registry_types::{Descriptor, Digest};
use tokio::io::AsyncWriteExt as _;

use super::{
    TargetName, WRITE_LENGTH,
    index::{INDEX_FILE, Index, LAYOUT, LAYOUT_FILE},
    partial::{Partial, is_whole_blocking},
};
use crate::{BlobStream, Error, Manifest, Mount, Source, source::blob_path};

/// A folder that is, or becomes, an OCI layout. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LayoutTarget {
    root: Arc<PathBuf>,
}

impl LayoutTarget {
    pub(super) async fn open(folder: &Path) -> Result<Self, Error> {
        let target = Self { root: Arc::new(folder.to_owned()) };
        target
            .blocking("making the layout", move |root| {
                fs::create_dir_all(root)?;
                let marker = root.join(LAYOUT_FILE);
                if !marker.try_exists()? {
                    replace_blocking(&marker, LAYOUT)?;
                }
                Ok(())
            })
            .await?;
        // One that cannot be read is told before anything is copied.
        target.blocking("reading the index of", |root| read_index_blocking(root).map(drop)).await?;
        Ok(target)
    }

    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    async fn blocking<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let root = Arc::clone(&self.root);
        tokio::task::spawn_blocking(move || work(&root))
            .await
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| Error::io(format!("{what} {}", self.root.display()), error))
    }

    pub(super) async fn put_blob(
        &self,
        source: &Source,
        blob: &Descriptor,
        tell: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Mount, Error> {
        let wanted = blob.clone();
        let found =
            self.blocking("writing a blob into", move |root| find_or_begin_blocking(root, &wanted)).await?;
        let Some(mut partial) = found else { return Ok(Mount::Existed) };
        let known = partial.hasher.length();
        tell(known);
        let outcome = match source.open_behind(blob, partial.hasher.clone()).await {
            Ok(pieces) => self.write(&partial, pieces, tell).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => {}
            // What an earlier copy left is not the start of this blob.
            Err(Error::DigestMismatch { .. }) if known > 0 => {
                partial = self
                    .blocking("writing a blob into", move |_| {
                        partial.empty_blocking()?;
                        Ok(partial)
                    })
                    .await?;
                let pieces = source.open(blob).await?;
                self.write(&partial, pieces, tell).await?;
            }
            Err(error) => return Err(error),
        }
        let digest = blob.digest;
        self.blocking("writing a blob into", move |root| partial.keep_blocking(&place(root, &digest)))
            .await?;
        Ok(Mount::Uploaded)
    }

    /// Appends to the partial file. What arrived before a failure stays in it, but for bytes with the wrong digest.
    async fn write(
        &self,
        partial: &Partial,
        mut pieces: BlobStream,
        tell: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), Error> {
        let named = |error| Error::io(format!("writing a blob into {}", self.root.display()), error);
        let file = tokio::fs::File::from_std(partial.file.try_clone().map_err(named)?);
        let mut writer = tokio::io::BufWriter::with_capacity(WRITE_LENGTH, file);
        let mut position = partial.hasher.length();
        let outcome = loop {
            match pieces.try_next().await {
                Ok(Some(piece)) => {
                    writer.write_all(&piece).await.map_err(named)?;
                    position += piece.len() as u64;
                    tell(position);
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        writer.flush().await.map_err(named)?;
        if matches!(outcome, Err(Error::DigestMismatch { .. } | Error::SizeMismatch { .. })) {
            writer.get_ref().set_len(0).await.map_err(named)?;
        }
        outcome
    }

    pub(super) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let manifest = manifest.clone();
        self.blocking("writing a manifest into", move |root| {
            let place = place(root, &manifest.digest);
            if is_whole_blocking(&place, &manifest.descriptor())? {
                return Ok(());
            }
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder)?;
            }
            replace_blocking(&place, &manifest.bytes)
        })
        .await
    }

    /// Enters a manifest into the index.
    pub(super) async fn add(&self, entry: Descriptor, names: &[TargetName]) -> Result<(), Error> {
        let names = names.to_vec();
        self.blocking("writing the index of", move |root| {
            // Copies into one layout at the same time take turns; the lock ends with the file.
            let marker = File::open(root.join(LAYOUT_FILE))?;
            marker.lock()?;
            let mut index = read_index_blocking(root)?;
            index.add(&entry, &names);
            replace_blocking(&root.join(INDEX_FILE), &serde_json::to_vec(&index)?)
        })
        .await
    }
}

fn place(root: &Path, digest: &Digest) -> PathBuf {
    root.join(blob_path(digest))
}

/// `None` when the blob is there and whole.
fn find_or_begin_blocking(root: &Path, blob: &Descriptor) -> io::Result<Option<Partial>> {
    let place = place(root, &blob.digest);
    if is_whole_blocking(&place, blob)? {
        return Ok(None);
    }
    let folder = place.parent().unwrap_or(root);
    fs::create_dir_all(folder)?;
    let partial = Partial::open_blocking(folder, blob)?;
    // Another copy may have put it in place while this one waited.
    if partial.hasher.length() == 0 && is_whole_blocking(&place, blob)? {
        fs::remove_file(&partial.path)?;
        return Ok(None);
    }
    Ok(Some(partial))
}

fn read_index_blocking(root: &Path) -> io::Result<Index> {
    match fs::read(root.join(INDEX_FILE)) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            let reason = format!("its index.json is not an OCI index ({error}); give an empty folder");
            io::Error::new(ErrorKind::InvalidData, reason)
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Index::default()),
        Err(error) => Err(error),
    }
}

/// Puts a small file in its place, whole and synced, by one rename.
fn replace_blocking(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    // The umask takes off what the user does not want; a temporary file's own 0600 would stay.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file =
        tempfile::Builder::new().prefix(".slipway-").permissions(permissions).tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
