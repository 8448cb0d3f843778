//! Names of local images: `NAME:TAG` to the digest of a manifest, kept as the image layout's `index.json`. Every change
//! is one rename under a lock, so builds that end at once do not lose each other's names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use registry_types::{DEFAULT_TAG, Descriptor, ImageReference, MediaType};
use serde::{Deserialize, Serialize};

use super::files::{self, FileLock};
use crate::error::{Result, StoreError};

/// Annotation that holds the name (image layout specification, "index.json").
const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";

/// Local image names.
#[derive(Debug, Clone)]
pub struct Images {
    index: PathBuf,
    lock: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: MediaType,
    manifests: Vec<Descriptor>,
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, media_type: MediaType::known(MediaType::OCI_INDEX), manifests: Vec::new() }
    }
}

impl Images {
    pub(super) fn open(root: &Path) -> Self {
        Self { index: root.join("index.json"), lock: root.join("index.lock") }
    }

    /// Gives a manifest a name; another one that had it loses it.
    pub fn set(&self, name: &ImageReference, manifest: &Descriptor) -> Result<()> {
        let name = full_name(name)?;
        self.change(|manifests| {
            manifests.retain(|other| name_of(other) != Some(&name));
            let mut named = manifest.clone();
            named.annotations.get_or_insert_default().insert(NAME_ANNOTATION.to_owned(), name);
            manifests.push(named);
        })
    }

    /// The manifest behind a name.
    pub fn get(&self, name: &ImageReference) -> Result<Option<Descriptor>> {
        let name = full_name(name)?;
        let found = self.read()?.manifests.into_iter().find(|manifest| name_of(manifest) == Some(&name));
        Ok(found.map(without_name))
    }

    /// Takes a name away; `false` if there was none.
    pub fn remove(&self, name: &ImageReference) -> Result<bool> {
        let name = full_name(name)?;
        let mut found = false;
        self.change(|manifests| {
            let before = manifests.len();
            manifests.retain(|manifest| name_of(manifest) != Some(&name));
            found = manifests.len() < before;
        })?;
        Ok(found)
    }

    /// Takes every name away.
    pub(super) fn clear(&self) -> Result<()> {
        self.change(Vec::clear)
    }

    /// All names with their manifests, sorted by name.
    pub fn list(&self) -> Result<BTreeMap<String, Descriptor>> {
        let manifests = self.read()?.manifests;
        Ok(manifests
            .into_iter()
            .filter_map(|manifest| Some((name_of(&manifest)?.clone(), without_name(manifest))))
            .collect())
    }

    fn read(&self) -> Result<Index> {
        Ok(files::read_record(&self.index)?.unwrap_or_default())
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Descriptor>)) -> Result<()> {
        let _lock = FileLock::exclusive(&self.lock)?;
        let mut index = self.read()?;
        change(&mut index.manifests);
        files::write_record(&self.index, &index)
    }
}

/// `host/repository:tag`; a digest is no local name.
fn full_name(name: &ImageReference) -> Result<String> {
    if name.digest.is_some() {
        return Err(StoreError::Malformed {
            text: name.to_string(),
            expected: "a local image name: leave the digest away",
        });
    }
    let tag = name.tag.as_ref().map_or(DEFAULT_TAG, |tag| tag.as_str());
    Ok(format!("{}:{tag}", name.name()))
}

fn name_of(manifest: &Descriptor) -> Option<&String> {
    manifest.annotations.as_ref()?.get(NAME_ANNOTATION)
}

fn without_name(mut manifest: Descriptor) -> Descriptor {
    if let Some(annotations) = &mut manifest.annotations {
        annotations.remove(NAME_ANNOTATION);
        if annotations.is_empty() {
            manifest.annotations = None;
        }
    }
    manifest
}
