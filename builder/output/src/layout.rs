//! The OCI image layout (image layout specification): the small files around the blobs, and the layout as a directory.
//!
//! A directory that is a layout already keeps the images it has; `index.json` changes last and by one rename, so a
//! reader never sees a name without its blobs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use builder_store::Store;
use builder_store::store::ContentStore;
use registry_types::{Descriptor, Digest, ImageReference, MediaType};
use serde::{Deserialize, Serialize};

use crate::destination::{FileFormat, FileTarget};
use crate::error::{OutputError, Result};
use crate::image::BuiltImage;

pub(crate) const LAYOUT_FILE: &str = "oci-layout";
pub(crate) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(crate) const INDEX_FILE: &str = "index.json";
pub(crate) const DOCKER_FILE: &str = "manifest.json";

/// The tag alone (image layout specification, "index.json").
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and Docker read it.
const FULL_NAME: &str = "io.containerd.image.name";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::known(MediaType::OCI_INDEX)),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        }
    }
}

impl Index {
    /// Puts an image in under each of its names, from which others are removed; without a name it is there once.
    pub(crate) fn add(&mut self, image: &BuiltImage, names: &[ImageReference]) {
        let mut descriptor = image.manifest_descriptor.clone();
        descriptor.platform = Some(image.platform.clone());
        if names.is_empty() {
            self.manifests.retain(|other| other.digest != descriptor.digest || name_of(other).is_some());
            self.manifests.push(descriptor);
            return;
        }
        for name in names {
            let full = name.to_string();
            self.manifests.retain(|other| name_of(other) != Some(&full));
            let mut annotations = BTreeMap::from([(FULL_NAME.to_owned(), full)]);
            if let Some(tag) = &name.tag {
                annotations.insert(REFERENCE_NAME.to_owned(), tag.to_string());
            }
            self.manifests.push(Descriptor { annotations: Some(annotations), ..descriptor.clone() });
        }
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| OutputError::Config { reason: error.to_string() })
    }
}

fn name_of(descriptor: &Descriptor) -> Option<&String> {
    descriptor.annotations.as_ref()?.get(FULL_NAME)
}

/// What `docker load` reads: `manifest.json` of the Docker image format 1.2.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

pub(crate) fn docker_manifest(image: &BuiltImage, names: &[ImageReference]) -> Result<Vec<u8>> {
    let entry = DockerEntry {
        config: blob_path(&image.config_descriptor.digest),
        repo_tags: names.iter().map(ToString::to_string).collect(),
        layers: image.layers.iter().map(|layer| blob_path(&layer.descriptor.digest)).collect(),
    };
    serde_json::to_vec(&[entry]).map_err(|error| OutputError::Config { reason: error.to_string() })
}

/// Where a blob lies in a layout.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Writes the image into a layout directory, which is made if it is not there. All layers are in the store.
pub(crate) fn write_directory_blocking(store: &Store, image: &BuiltImage, target: &FileTarget) -> Result<()> {
    let root = &target.path;
    fs::create_dir_all(root).map_err(|error| OutputError::file("making the directory", root, error))?;
    let mut index = existing_index(root)?;
    for layer in &image.layers {
        put_layer(&store.content, &layer.descriptor, root)?;
    }
    for (descriptor, content) in
        [(&image.config_descriptor, &image.config), (&image.manifest_descriptor, &image.manifest)]
    {
        let path = root.join(blob_path(&descriptor.digest));
        replace(&path, |file| {
            file.write_all(content).map_err(|error| OutputError::file("writing", &path, error))
        })?;
    }
    index.add(image, &target.names);
    put_small(root, LAYOUT_FILE, LAYOUT)?;
    if target.format == FileFormat::Docker {
        put_small(root, DOCKER_FILE, &docker_manifest(image, &target.names)?)?;
    }
    put_small(root, INDEX_FILE, &index.to_json()?)
}

fn existing_index(root: &Path) -> Result<Index> {
    let path = root.join(INDEX_FILE);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Index::default()),
        text => text.map_err(|error| OutputError::file("reading", &path, error))?,
    };
    serde_json::from_slice(&text).map_err(|error| OutputError::Layout {
        path: root.to_owned(),
        reason: format!("its index.json is not an OCI index ({error}); give an empty directory"),
    })
}

fn put_layer(content: &ContentStore, descriptor: &Descriptor, root: &Path) -> Result<()> {
    let path = root.join(blob_path(&descriptor.digest));
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == descriptor.size) {
        return Ok(());
    }
    replace(&path, |file| content.copy_to(&descriptor.digest, file).map(drop).map_err(OutputError::from))
}

fn put_small(root: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = root.join(name);
    replace(&path, |file| file.write_all(content).map_err(|error| OutputError::file("writing", &path, error)))
}

/// Puts a file in its place, whole and synced, by one rename.
pub(crate) fn replace(path: &Path, fill: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let failed = |error| OutputError::file("writing", path, error);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)
        .map_err(|error| OutputError::file("making the directory", directory, error))?;
    let mut builder = tempfile::Builder::new();
    // The umask takes off what the user does not want; a temporary file's own 0600 would stay.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file =
        builder.prefix(".slipway-").permissions(permissions).tempfile_in(directory).map_err(failed)?;
    fill(file.as_file_mut())?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
