//! Archives as `docker save` wrote them before it wrote OCI layouts, and as podman, skopeo and Bazel still do: a
//! `manifest.json` that names a configuration and layer files. They hold no manifest, so one is made: the same archive
//! always gives the same bytes.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use registry_types::{Descriptor, Digest, DigestHasher, MediaType};
use serde::{Deserialize, Serialize};

use super::{
    layout::{Entry, Layout},
    store::{Extent, Store, Tar},
};
use crate::{Error, transport::PIECE};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Configuration {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    schema_version: u32,
    media_type: &'a str,
    config: &'a Descriptor,
    layers: &'a [Descriptor],
}

/// Reads the table of such an archive and puts its blobs within reach by digest.
pub(super) async fn read(store: &mut Store) -> Result<Layout, Error> {
    let neither =
        "it is neither an OCI layout (oci-layout, index.json) nor an archive of docker save (manifest.json)";
    let Store::Tar(tar) = &*store else { return Err(store.unreadable(neither)) };
    let Some(table) = store.read("manifest.json").await? else { return Err(store.unreadable(neither)) };
    let saved: Vec<Saved> = serde_json::from_slice(&table)
        .map_err(|error| store.unreadable(format!("its manifest.json: {error}")))?;
    let mut blobs = HashMap::new();
    let mut made = HashMap::new();
    let mut images = Vec::new();
    for image in saved {
        let extent = |name: &str| {
            let known = tar.entries.get(name).copied();
            known.ok_or_else(|| store.unreadable(format!("it has no file {}", crate::error::printable(name))))
        };
        let configuration = store
            .read(&image.config)
            .await?
            .ok_or_else(|| store.unreadable("the configuration that its manifest.json names is not there"))?;
        let parsed: Configuration = serde_json::from_slice(&configuration)
            .map_err(|error| store.unreadable(format!("the configuration of an image: {error}")))?;
        if parsed.rootfs.diff_ids.len() != image.layers.len() {
            return Err(
                store.unreadable("its configuration and its manifest.json name different numbers of layers")
            );
        }
        let config = Descriptor::new(
            MediaType::known(MediaType::OCI_CONFIG),
            Digest::sha256(&configuration),
            configuration.len() as u64,
        );
        blobs.insert(config.digest, extent(&image.config)?);
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(&parsed.rootfs.diff_ids) {
            let extent = extent(name)?;
            let layer = layer(store, tar, extent, diff_id).await?;
            blobs.insert(layer.digest, extent);
            layers.push(layer);
        }
        let manifest =
            Made { schema_version: 2, media_type: MediaType::OCI_MANIFEST, config: &config, layers: &layers };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| store.unreadable(error.to_string()))?;
        let digest = Digest::sha256(&bytes);
        let descriptor =
            Descriptor::new(MediaType::known(MediaType::OCI_MANIFEST), digest, bytes.len() as u64);
        made.insert(digest, Bytes::from(bytes));
        images.push(Entry { descriptor, names: image.repo_tags.unwrap_or_default() });
    }
    let tar = Tar {
        path: tar.path.clone(),
        file: Arc::clone(&tar.file),
        entries: tar.entries.clone(),
        blobs,
        made,
    };
    *store = Store::Tar(Arc::new(tar));
    Ok(Layout { images, index: None })
}

/// A plain layer is named by its diffID; a compressed one must be hashed to know its name.
async fn layer(store: &Store, tar: &Tar, extent: Extent, diff_id: &Digest) -> Result<Descriptor, Error> {
    let payload = tar.payload(extent);
    let named = |error| Error::io(format!("reading a layer in {}", store.path().display()), error);
    let start = payload.read(0, 4).await.map_err(named)?;
    let media_type = match start.as_ref() {
        [0x1f, 0x8b, ..] => MediaType::OCI_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => MediaType::OCI_LAYER_ZSTD,
        _ => {
            let media_type = MediaType::known(MediaType::OCI_LAYER);
            return Ok(Descriptor::new(media_type, *diff_id, extent.length));
        }
    };
    let mut hasher = DigestHasher::new(diff_id.algorithm());
    while hasher.length() < extent.length {
        let piece = payload.read(hasher.length(), PIECE).await.map_err(named)?;
        hasher.update(&piece);
    }
    Ok(Descriptor::new(MediaType::known(media_type), hasher.finish(), extent.length))
}
