//! Small values to test with.

use std::str::FromStr;

use bytes::Bytes;
use registry_types::{Algorithm, BlobLocation, Digest, ManifestView, MediaType, RepositoryName, Tag};
use serde_json::{Value, json};

use crate::{Change, Metadata, NewBlob, NewManifest, PageRequest, ReferrersRequest};

/// Parses a text known to be well formed.
pub fn parse<T: FromStr>(text: &str) -> T {
    text.parse().ok().unwrap_or_else(|| panic!("{text:?} does not parse"))
}

pub fn repository(name: &str) -> RepositoryName {
    parse(name)
}

pub fn tag(name: &str) -> Tag {
    parse(name)
}

pub fn page(after: Option<&str>, limit: usize) -> PageRequest {
    PageRequest { after: after.map(str::to_owned), limit }
}

/// The first page of referrers, long enough for the samples.
pub fn all_referrers() -> ReferrersRequest {
    ReferrersRequest { after: None, entries: 100, bytes: 1 << 20 }
}

/// A blob whose content is `text`.
pub fn blob(text: &str) -> NewBlob {
    NewBlob {
        digest: Digest::sha256(text.as_bytes()),
        size: text.len() as u64,
        location: BlobLocation::ByDigest,
    }
}

/// The blob of `repository`, without its lease.
pub async fn linked_blob<M: Metadata>(
    store: &M,
    repository: &RepositoryName,
    digest: &Digest,
) -> Option<NewBlob> {
    store.blob(repository, digest).await.expect("the store answers").map(NewBlob::from)
}

pub fn descriptor(media_type: &str, blob: &NewBlob) -> Value {
    json!({ "mediaType": media_type, "digest": blob.digest.to_string(), "size": blob.size })
}

/// An OCI image manifest as JSON; the first blob is its config, the others its layers.
pub fn image_json(blobs: &[NewBlob]) -> Value {
    let (config, layers) = blobs.split_first().expect("an image has a config");
    let layers: Vec<Value> =
        layers.iter().map(|layer| descriptor(MediaType::OCI_LAYER_GZIP, layer)).collect();
    json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": descriptor(MediaType::OCI_CONFIG, config),
        "layers": layers,
    })
}

/// An OCI index of `children`.
pub fn index_json(children: &[&NewManifest]) -> Value {
    let manifests: Vec<Value> = children
        .iter()
        .map(|child| {
            json!({
                "mediaType": child.view.media_type,
                "digest": child.digest.to_string(),
                "size": child.bytes.len(),
            })
        })
        .collect();
    json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests })
}

/// A manifest to push, digested with sha256.
pub fn manifest(repository: &RepositoryName, json: &Value, tags: &[&str]) -> NewManifest {
    manifest_of(repository, Bytes::from(json.to_string()), None, Algorithm::Sha256, tags)
}

/// A manifest to push, from its bytes and the type it is declared as.
pub fn manifest_of(
    repository: &RepositoryName,
    bytes: Bytes,
    declared: Option<&MediaType>,
    algorithm: Algorithm,
    tags: &[&str],
) -> NewManifest {
    NewManifest {
        repository: repository.clone(),
        digest: Digest::of(algorithm, &bytes),
        view: ManifestView::parse(&bytes, declared).expect("a sample manifest parses"),
        bytes,
        tags: tags.iter().map(|name| tag(name)).collect(),
        immutable_tags: Vec::new(),
        allow_missing_blobs: false,
    }
}

/// Links an image's blobs and gives the image: config and one layer, both named after `name`.
pub async fn linked_image<M: Metadata>(
    store: &M,
    repository: &RepositoryName,
    name: &str,
    tags: &[&str],
) -> NewManifest {
    let blobs = [blob(&format!("config of {name}")), blob(&format!("layer of {name}"))];
    for blob in &blobs {
        store.link_blob(repository, blob, None, Change::now()).await.expect("a blob is linked");
    }
    manifest(repository, &image_json(&blobs), tags)
}

/// [`linked_image`], pushed.
pub async fn pushed_image<M: Metadata>(
    store: &M,
    repository: &RepositoryName,
    name: &str,
    tags: &[&str],
) -> NewManifest {
    let image = linked_image(store, repository, name, tags).await;
    store.put_manifest(image.clone(), Change::now()).await.expect("an image whose blobs are linked is taken");
    image
}
