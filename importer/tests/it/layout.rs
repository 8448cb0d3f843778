//! Images made by hand in an OCI image layout on disk, and a source that reads them from there, can be told
//! to do something at a given moment, and remembers which blobs were opened.

use std::{
    collections::HashMap,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use futures_util::future::{BoxFuture, FutureExt};
use importer::{BlobReader, ImageSource, ResolvedImage, SourceError};
use registry_types::{Descriptor, Digest, ImageReference, MediaType, Platform};
use tempfile::TempDir;

/// A file of a layer: path, mode, content.
pub(crate) type LayerFile<'a> = (&'a str, u32, Vec<u8>);

type Hook = Box<dyn Fn() -> Result<(), SourceError> + Send + Sync>;

/// An image with its parts.
#[derive(Clone)]
pub(crate) struct MadeImage {
    pub(crate) resolved: ResolvedImage,
    pub(crate) manifest: Descriptor,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

pub(crate) struct Layout {
    folder: TempDir,
    images: HashMap<String, ResolvedImage>,
    /// Digests of the blobs that were opened, once per opening.
    opened: Arc<Mutex<Vec<Digest>>>,
    before_resolve: Option<Hook>,
    before_open: Option<(Digest, Hook)>,
}

impl Layout {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        Self {
            folder,
            images: HashMap::new(),
            opened: Arc::default(),
            before_resolve: None,
            before_open: None,
        }
    }

    fn blob_path(folder: &Path, digest: &Digest) -> PathBuf {
        folder.join("blobs/sha256").join(digest.hex())
    }

    fn put(&self, media_type: &'static str, content: &[u8]) -> Descriptor {
        let digest = Digest::sha256(content);
        std::fs::write(Self::blob_path(self.folder.path(), &digest), content).unwrap();
        Descriptor::new(MediaType::known(media_type), digest, content.len() as u64)
    }

    /// Adds an image for `architecture` whose process is `command`, and gives its parts.
    pub(crate) fn add(
        &mut self,
        name: &str,
        architecture: &str,
        command: &[&str],
        layers: &[Vec<LayerFile<'_>>],
    ) -> MadeImage {
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for files in layers {
            let tar = layer_tar(files);
            diff_ids.push(Digest::sha256(&tar));
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&tar).unwrap();
            descriptors.push(self.put(MediaType::OCI_LAYER_GZIP, &gzip.finish().unwrap()));
        }
        let config = serde_json::json!({
            "os": "linux", "architecture": architecture, "config": {"Cmd": command},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.put(MediaType::OCI_CONFIG, config.to_string().as_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": descriptors,
        });
        let manifest_bytes = manifest.to_string().into_bytes();
        let manifest = self.put(MediaType::OCI_MANIFEST, &manifest_bytes);
        let resolved =
            ResolvedImage { manifest: manifest.clone(), manifest_bytes: manifest_bytes.into(), index: None };
        self.insert(name, resolved.clone());
        MadeImage { resolved, manifest, config, layers: descriptors }
    }

    /// Makes the folder an OCI layout of `image` alone, for others to read.
    pub(crate) fn finish(&self, image: &MadeImage) {
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [image.manifest],
        });
        std::fs::write(self.folder().join("index.json"), index.to_string()).unwrap();
        std::fs::write(self.folder().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Names an image once more.
    pub(crate) fn insert(&mut self, name: &str, image: ResolvedImage) {
        self.images.insert(name.parse::<ImageReference>().unwrap().to_string(), image);
    }

    /// The same image behind an index that lists one more, for another machine.
    pub(crate) fn in_index(&self, image: &MadeImage) -> ResolvedImage {
        let mut child = image.manifest.clone();
        child.platform = Some(Platform::new("linux", "amd64", None));
        let mut other = Descriptor::new(child.media_type.clone(), Digest::sha256(b"not here"), 8);
        other.platform = Some(Platform::new("linux", "arm64", Some("v8")));
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [other, child],
        });
        let bytes = index.to_string().into_bytes();
        let index = self.put(MediaType::OCI_INDEX, &bytes);
        ResolvedImage { index: Some((index, bytes.into())), ..image.resolved.clone() }
    }

    /// Calls `hook` after the nodes were asked what they have and before anything is sent.
    pub(crate) fn before_sending(
        &mut self,
        hook: impl Fn() -> Result<(), SourceError> + Send + Sync + 'static,
    ) {
        self.before_resolve = Some(Box::new(hook));
    }

    /// Calls `hook` each time `digest` is about to be read.
    pub(crate) fn before_opening(
        &mut self,
        digest: Digest,
        hook: impl Fn() -> Result<(), SourceError> + Send + Sync + 'static,
    ) {
        self.before_open = Some((digest, Box::new(hook)));
    }

    pub(crate) fn opened(&self) -> Arc<Mutex<Vec<Digest>>> {
        self.opened.clone()
    }
}

fn layer_tar(files: &[LayerFile<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

impl ImageSource for Layout {
    fn resolve<'a>(
        &'a self,
        image: &'a ImageReference,
        _: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, SourceError>> {
        async move {
            if let Some(hook) = &self.before_resolve {
                hook()?;
            }
            self.images.get(&image.to_string()).cloned().ok_or_else(|| "the layout has no such image".into())
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        _: &'a ImageReference,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<BlobReader, SourceError>> {
        async move {
            self.opened.lock().unwrap().push(blob.digest);
            if let Some((digest, hook)) = &self.before_open
                && *digest == blob.digest
            {
                hook()?;
            }
            let file = tokio::fs::File::open(Self::blob_path(self.folder.path(), &blob.digest)).await?;
            let reader: BlobReader = Box::pin(file);
            Ok(reader)
        }
        .boxed()
    }
}
