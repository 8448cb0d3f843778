//! Images made of thin air, a source of them, and a Docker Engine whose nodes are all pretence, for unit tests.

mod engine;
mod node;
mod tls;

use std::{
    collections::{BTreeMap, HashMap},
    io::Cursor,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use registry_types::{Descriptor, Digest, ImageReference, MediaType, Platform};

pub(crate) use engine::FakeEngine;
pub(crate) use node::{FakeNode, Import};

use crate::{
    BlobReader, ImageSource, ResolvedImage, SourceError,
    image::{Image, Name, tag_of},
};

/// A linux/amd64 image whose layers are any bytes.
#[derive(Debug, Clone)]
pub(crate) struct FakeImage {
    pub(crate) manifest: Descriptor,
    pub(crate) manifest_bytes: Bytes,
    pub(crate) index: Option<(Descriptor, Bytes)>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) blobs: HashMap<Digest, Bytes>,
}

fn descriptor(media_type: &'static str, content: &[u8]) -> Descriptor {
    Descriptor::new(MediaType::known(media_type), Digest::sha256(content), content.len() as u64)
}

impl FakeImage {
    /// `label` makes the config differ between images.
    pub(crate) fn new(label: &str, layers: &[&[u8]]) -> Self {
        let mut blobs = HashMap::new();
        let mut keep = |media_type, content: Bytes| {
            let descriptor = descriptor(media_type, &content);
            blobs.insert(descriptor.digest, content);
            descriptor
        };
        let config = serde_json::json!({"os": "linux", "architecture": "amd64", "author": label});
        let config = keep(MediaType::OCI_CONFIG, config.to_string().into());
        let layers: Vec<Descriptor> =
            layers.iter().map(|layer| keep(MediaType::OCI_LAYER, Bytes::copy_from_slice(layer))).collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": layers,
        });
        let manifest_bytes = Bytes::from(manifest.to_string());
        let manifest = descriptor(MediaType::OCI_MANIFEST, &manifest_bytes);
        Self { manifest, manifest_bytes, index: None, config, layers, blobs }
    }

    /// The same image behind an index.
    pub(crate) fn in_index(mut self) -> Self {
        let mut child = self.manifest.clone();
        child.platform = Some(Platform::new("linux", "amd64", None));
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [child],
        });
        let bytes = Bytes::from(index.to_string());
        self.index = Some((descriptor(MediaType::OCI_INDEX, &bytes), bytes));
        self
    }

    pub(crate) fn resolved(&self) -> ResolvedImage {
        ResolvedImage {
            manifest: self.manifest.clone(),
            manifest_bytes: self.manifest_bytes.clone(),
            index: self.index.clone(),
        }
    }

    /// The image as it is after reading.
    pub(crate) fn image(&self, reference: &str) -> Arc<Image> {
        let reference: ImageReference = reference.parse().unwrap();
        let mut target = self.manifest.clone();
        target.platform = Some(Platform::new("linux", "amd64", None));
        let tagged = tag_of(&reference).map(|tag| reference.with_tag(tag).to_string());
        let by_digest = reference.with_digest(target.digest).to_string();
        let names =
            tagged.into_iter().chain([by_digest]).map(|name| Name { name, target: target.clone() }).collect();
        let config_bytes = self.blobs[&self.config.digest].clone();
        let (config, layers) = (self.config.clone(), self.layers.clone());
        Arc::new(Image { reference, resolved: self.resolved(), config, config_bytes, layers, names })
    }
}

/// The output of `ctr images ls` and `ctr content ls` of a node that has `images` by these names.
pub(crate) fn node_tables(images: &[(&str, &FakeImage)]) -> (String, String) {
    let mut records = "REF TYPE DIGEST SIZE PLATFORMS LABELS\n".to_owned();
    let mut content: BTreeMap<Digest, String> = BTreeMap::new();
    for (name, image) in images {
        let manifest = &image.manifest;
        records += &format!("{name} {} {} 1.0 KiB linux/amd64 -\n", manifest.media_type, manifest.digest);
        let children = std::iter::once(&image.config).chain(&image.layers);
        let labels: Vec<String> = children
            .clone()
            .enumerate()
            .map(|(index, child)| format!("containerd.io/gc.ref.content.{index}={}", child.digest))
            .collect();
        content.insert(manifest.digest, labels.join(","));
        for child in children {
            content.insert(child.digest, "-".to_owned());
        }
    }
    let content = content.iter().map(|(digest, labels)| format!("{digest} 1kB 2 minutes {labels}\n"));
    (records, content.collect())
}

/// A source of fake images.
#[derive(Debug, Default)]
pub(crate) struct FakeSource(HashMap<String, FakeImage>);

impl FakeSource {
    pub(crate) fn new<'a>(images: impl IntoIterator<Item = (&'a str, &'a FakeImage)>) -> Self {
        let full = |name: &str| name.parse::<ImageReference>().unwrap().to_string();
        Self(images.into_iter().map(|(name, image)| (full(name), image.clone())).collect())
    }

    fn image(&self, image: &ImageReference) -> Result<&FakeImage, SourceError> {
        self.0.get(&image.to_string()).ok_or_else(|| "the fake source has no such image".into())
    }
}

impl ImageSource for FakeSource {
    fn resolve<'a>(
        &'a self,
        image: &'a ImageReference,
        _: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, SourceError>> {
        async move { Ok(self.image(image)?.resolved()) }.boxed()
    }

    fn open<'a>(
        &'a self,
        image: &'a ImageReference,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<BlobReader, SourceError>> {
        async move {
            let content =
                self.image(image)?.blobs.get(&blob.digest).ok_or("the fake source has no such blob")?;
            let reader: BlobReader = Box::pin(Cursor::new(content.clone()));
            Ok(reader)
        }
        .boxed()
    }
}
