//! OCI layouts: `oci-layout` says that it is one, `index.json` names the images (image specification, "OCI Image
//! Layout").

use bytes::Bytes;
use registry_types::{Descriptor, Digest, ImageReference, ManifestView, MediaType};
use serde::Deserialize;

use super::store::Store;
use crate::{Error, Manifest};

/// The tag, or with some tools the whole name, of an entry.
pub(crate) const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and docker write it.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The images of a layout, or of an archive that was read as one.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) images: Vec<Entry>,
    /// The index itself, when it may stand for an image of several platforms.
    pub(super) index: Option<Bytes>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) descriptor: Descriptor,
    pub(super) names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// `None` when there is no layout.
    pub(super) async fn read(store: &Store) -> Result<Option<Self>, Error> {
        let Some(marker) = store.read("oci-layout").await? else { return Ok(None) };
        let marker: Marker = serde_json::from_slice(&marker)
            .map_err(|error| store.unreadable(format!("its oci-layout file: {error}")))?;
        if !marker.image_layout_version.starts_with("1.") {
            let version = crate::error::printable(&marker.image_layout_version);
            return Err(store.unreadable(format!("its layout version is {version}, and 1.x is known")));
        }
        let index =
            store.read("index.json").await?.ok_or_else(|| store.unreadable("it has no index.json"))?;
        let media_type = MediaType::known(MediaType::OCI_INDEX);
        let view = ManifestView::parse(&index, Some(&media_type))
            .map_err(|error| store.unreadable(format!("its index.json: {error}")))?;
        let images = view
            .manifests
            .into_iter()
            .map(|descriptor| Entry { names: names(&descriptor), descriptor })
            .collect();
        Ok(Some(Self { images, index: Some(index) }))
    }

    /// The images without what refers to them: signatures and the like stand in the index without a name.
    fn own_images(&self) -> Vec<&Entry> {
        let refers = |entry: &Entry| entry.names.is_empty() && entry.descriptor.artifact_type.is_some();
        let own: Vec<&Entry> = self.images.iter().filter(|entry| !refers(entry)).collect();
        if own.is_empty() { self.images.iter().collect() } else { own }
    }

    /// The image called `name`, or the only one. Entries for several platforms under one name, or under none, are
    /// one image.
    pub(super) async fn choose(
        &self,
        store: &Store,
        name: Option<&str>,
    ) -> Result<(Manifest, Option<String>), Error> {
        let found: Vec<&Entry> = match name {
            None => self.own_images(),
            Some(name) => self.images.iter().filter(|entry| entry.is_called(name)).collect(),
        };
        let label = |entry: &Entry| name.map(str::to_owned).or_else(|| entry.names.first().cloned());
        match found.as_slice() {
            [] => {
                let known: Vec<&str> =
                    self.images.iter().flat_map(|entry| &entry.names).map(String::as_str).collect();
                let known = if known.is_empty() { "no names".to_owned() } else { known.join(", ") };
                Err(Error::NotFound {
                    what: name.map_or_else(|| "an image".to_owned(), |name| format!("image {name}")),
                    place: format!("{}, which holds {known}", store.path().display()),
                })
            }
            [entry] => Ok((store.manifest(&entry.descriptor).await?, label(entry))),
            // One image under several tags.
            [first, rest @ ..]
                if rest.iter().all(|entry| entry.descriptor.digest == first.descriptor.digest) =>
            {
                Ok((store.manifest(&first.descriptor).await?, label(first)))
            }
            [first, ..] => {
                let one_name = found.iter().all(|entry| entry.names == first.names);
                let platforms = found.iter().all(|entry| entry.descriptor.platform.is_some());
                match &self.index {
                    // The whole index is one image only if nothing else stands in it.
                    Some(index) if one_name && platforms && found.len() == self.images.len() => {
                        let top = Manifest {
                            bytes: index.clone(),
                            media_type: MediaType::known(MediaType::OCI_INDEX),
                            digest: Digest::sha256(index),
                        };
                        Ok((top, label(first)))
                    }
                    _ => {
                        let names: Vec<&str> =
                            found.iter().flat_map(|entry| &entry.names).map(String::as_str).collect();
                        Err(store.unreadable(format!(
                            "it holds several images, name one of them: {}",
                            names.join(", ")
                        )))
                    }
                }
            }
        }
    }
}

impl Entry {
    fn is_called(&self, name: &str) -> bool {
        let wanted = name.parse::<ImageReference>().ok();
        self.names.iter().any(|own| {
            own == name
                || wanted.as_ref().is_some_and(|wanted| {
                    own.parse::<ImageReference>()
                        .is_ok_and(|own| own.name() == wanted.name() && own.reference() == wanted.reference())
                })
        })
    }
}

fn names(descriptor: &Descriptor) -> Vec<String> {
    let annotation = |key: &str| {
        descriptor
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(key))
            .filter(|name| !name.is_empty())
    };
    let mut names: Vec<String> =
        [CONTAINERD_NAME, REFERENCE_NAME].into_iter().filter_map(annotation).cloned().collect();
    names.dedup();
    names
}
