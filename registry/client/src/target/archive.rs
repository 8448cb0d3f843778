//! An archive as a target: a tar of an OCI layout, for docker with `manifest.json` in it, so that loaders of either
//! kind read the same file. Blobs go from their source into the archive one after the other; it is in its place only
//! when it is whole.

use std::{
    collections::HashSet,
    fmt,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use registry_types::{Descriptor, Digest, ManifestKind, ManifestView};
use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::sync::{Mutex, mpsc};

use super::{
    TargetName, WRITE_LENGTH,
    index::{INDEX_FILE, Index, LAYOUT, LAYOUT_FILE},
};
use crate::{Error, Manifest, Mount, Source, source::blob_path};

/// `manifest.json`, by which `docker load` finds an image.
const DOCKER_FILE: &str = "manifest.json";

/// Pieces of a blob between the network and the writer: enough that neither waits for each of the other's, few enough
/// to be a megabyte or so.
const QUEUE: usize = 16;

/// What reads an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// A tar of an OCI layout.
    Oci,
    /// The same with what `docker load` of any version reads. It holds images, not indexes.
    Docker,
}

/// An archive that is being written. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ArchiveTarget {
    path: Arc<PathBuf>,
    format: ArchiveFormat,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Gone when the archive is finished or writing it has failed.
    writer: Option<tar::Builder<Sink>>,
    written: HashSet<Digest>,
    index: Index,
    docker: Vec<DockerEntry>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("written", &self.written.len()).finish_non_exhaustive()
    }
}

/// An entry of `manifest.json` (Docker image format 1.2).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

enum Sink {
    File(BufWriter<NamedTempFile>),
    Standard(BufWriter<io::Stdout>),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Standard(stdout) => stdout.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.flush(),
            Self::Standard(stdout) => stdout.flush(),
        }
    }
}

impl Sink {
    fn open_blocking(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Standard(BufWriter::with_capacity(WRITE_LENGTH, io::stdout())));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The umask takes off what the user does not want; a temporary file's own 0600 would stay.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let file =
            tempfile::Builder::new().prefix(".slipway-").permissions(permissions).tempfile_in(folder)?;
        Ok(Self::File(BufWriter::with_capacity(WRITE_LENGTH, file)))
    }

    fn keep_blocking(self, path: &Path) -> io::Result<()> {
        match self {
            Self::File(file) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(path).map_err(|error| error.error)?;
                Ok(())
            }
            Self::Standard(mut stdout) => stdout.flush(),
        }
    }
}

impl ArchiveTarget {
    pub(super) async fn create(path: &Path, format: ArchiveFormat) -> Result<Self, Error> {
        let path = Arc::new(path.to_owned());
        let place = Arc::clone(&path);
        let sink = blocking(&path, move || Sink::open_blocking(&place)).await?;
        let state = State {
            writer: Some(tar::Builder::new(sink)),
            written: HashSet::new(),
            index: Index::default(),
            docker: Vec::new(),
        };
        let target = Self { path, format, state: Arc::new(Mutex::new(state)) };
        target.state.lock().await.small(&target.path, LAYOUT_FILE, Bytes::from_static(LAYOUT)).await?;
        Ok(target)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn put_blob(
        &self,
        source: &Source,
        blob: &Descriptor,
        tell: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Mount, Error> {
        // Taken before the source is opened: a registry does not wait with an open answer for its turn.
        let mut state = self.state.lock().await;
        if !state.written.insert(blob.digest) {
            return Ok(Mount::Existed);
        }
        let mut position = 0;
        let pieces = source.open(blob).await?.inspect(|piece| {
            if let Ok(piece) = piece {
                position += piece.len() as u64;
                tell(position);
            }
        });
        state.append(&self.path, &blob_path(&blob.digest), blob.size, pieces).await?;
        Ok(Mount::Uploaded)
    }

    pub(super) async fn put_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        if !state.written.insert(manifest.digest) {
            return Ok(());
        }
        state.small(&self.path, &blob_path(&manifest.digest), manifest.bytes.clone()).await
    }

    pub(super) async fn add(&self, entry: Descriptor, names: &[TargetName]) -> Result<(), Error> {
        self.state.lock().await.index.add(&entry, names);
        Ok(())
    }

    /// Enters an image into `manifest.json`, if the archive has one.
    pub(super) async fn add_for_docker(
        &self,
        view: &ManifestView,
        names: &[TargetName],
    ) -> Result<(), Error> {
        if self.format != ArchiveFormat::Docker {
            return Ok(());
        }
        let (ManifestKind::Image, Some(config)) = (view.kind, &view.config) else {
            return Err(Error::Setting {
                setting: "docker-archive".to_owned(),
                reason: "it holds images of one platform each, not an index; choose a platform".to_owned(),
            });
        };
        if let Some(foreign) = view.layers.iter().find(|layer| layer.media_type.is_foreign_layer()) {
            return Err(Error::NotFound {
                what: format!("layer {}", foreign.digest),
                place: "the image, which names another place for it; an OCI archive can hold it".to_owned(),
            });
        }
        let entry = DockerEntry {
            config: blob_path(&config.digest),
            repo_tags: names.iter().filter_map(|name| Some(name.image.as_ref()?.to_string())).collect(),
            layers: view.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
        };
        self.state.lock().await.docker.push(entry);
        Ok(())
    }

    pub(super) async fn finish(&self) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let json = |error: serde_json::Error| Error::io("writing an archive", error.into());
        if self.format == ArchiveFormat::Docker {
            let table = serde_json::to_vec(&state.docker).map_err(json)?;
            state.small(&self.path, DOCKER_FILE, table.into()).await?;
        }
        let index = serde_json::to_vec(&state.index).map_err(json)?;
        state.small(&self.path, INDEX_FILE, index.into()).await?;
        let writer = state.take(&self.path)?;
        let path = Arc::clone(&self.path);
        blocking(&self.path, move || writer.into_inner()?.keep_blocking(&path)).await
    }
}

impl State {
    fn take(&mut self, path: &Path) -> Result<tar::Builder<Sink>, Error> {
        self.writer.take().ok_or_else(|| {
            let reason = io::Error::other("it was finished, or an earlier part could not be written");
            Error::io(format!("writing {}", path.display()), reason)
        })
    }

    async fn small(&mut self, path: &Path, name: &str, content: Bytes) -> Result<(), Error> {
        let size = content.len() as u64;
        self.append(path, name, size, stream::iter([Ok(content)])).await
    }

    /// Appends a file of `size` bytes. After a failure the archive takes no more.
    async fn append(
        &mut self,
        path: &Path,
        name: &str,
        size: u64,
        pieces: impl Stream<Item = Result<Bytes, Error>> + Send,
    ) -> Result<(), Error> {
        let mut writer = self.take(path)?;
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let name = name.to_owned();
        let writing = blocking(path, move || {
            writer.append_data(&mut header, name, Queue { receiver, piece: Bytes::new() })?;
            Ok(writer)
        });
        let feeding = async move {
            let mut pieces = std::pin::pin!(pieces);
            while let Some(piece) = pieces.next().await {
                // A writer that is gone tells why itself.
                if sender.send(piece?).await.is_err() {
                    break;
                }
            }
            Ok::<_, Error>(())
        };
        let (written, fed) = tokio::join!(writing, feeding);
        fed?;
        self.writer = Some(written?);
        Ok(())
    }
}

/// Pieces that come from elsewhere, to be read on a blocking thread.
struct Queue {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Queue {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| Error::io(format!("writing {}", path.display()), error))
}
