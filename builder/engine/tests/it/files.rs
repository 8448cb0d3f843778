//! What a layer or an image holds, read by a tar reader that is not the builder's own.

use std::collections::BTreeMap;
use std::io::Read as _;

use builder_output::{BuiltImage, ImageLayer};
use builder_store::Store;
use builder_store::compression::{Decompressor, ExpansionLimits};

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) kind: tar::EntryType,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    pub(crate) modified: u64,
    pub(crate) content: String,
    pub(crate) link: String,
}

/// Files by path.
#[derive(Debug)]
pub(crate) struct Files(BTreeMap<String, File>);

impl Files {
    pub(crate) fn of_layer(store: &Store, layer: &ImageLayer) -> Self {
        let blob = store.content.open_blob(&layer.descriptor.digest).unwrap();
        let plain = Decompressor::new(blob, ExpansionLimits::default()).unwrap();
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(plain).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_str().unwrap().trim_end_matches('/').to_owned();
            let header = entry.header().clone();
            let link = entry.link_name().unwrap().map(|name| name.to_str().unwrap().to_owned());
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let file = File {
                kind: header.entry_type(),
                mode: header.mode().unwrap(),
                owner: (header.uid().unwrap(), header.gid().unwrap()),
                modified: header.mtime().unwrap(),
                content: String::from_utf8_lossy(&content).into_owned(),
                link: link.unwrap_or_default(),
            };
            files.insert(path, file);
        }
        Self(files)
    }

    /// Layer over layer, with whiteouts carried out.
    pub(crate) fn of_image(store: &Store, image: &BuiltImage) -> Self {
        let mut files: BTreeMap<String, File> = BTreeMap::new();
        for layer in &image.layers {
            let layer = Self::of_layer(store, layer).0;
            for path in layer.keys() {
                let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
                let Some(hidden) = name.strip_prefix(".wh.") else { continue };
                let hidden =
                    if directory.is_empty() { hidden.to_owned() } else { format!("{directory}/{hidden}") };
                files.retain(|path, _| *path != hidden && !path.starts_with(&format!("{hidden}/")));
            }
            files.extend(layer.into_iter().filter(|(path, _)| !path.contains(".wh.")));
        }
        Self(files)
    }

    pub(crate) fn get(&self, path: &str) -> &File {
        self.0.get(path).unwrap_or_else(|| panic!("{path} is not among {:?}", self.paths()))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    pub(crate) fn paths(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }

    /// Paths below a directory.
    pub(crate) fn below(&self, directory: &str) -> Vec<&str> {
        let prefix = format!("{directory}/");
        self.0.keys().filter_map(|path| path.strip_prefix(&prefix)).collect()
    }

    pub(crate) fn content(&self, path: &str) -> &str {
        &self.get(path).content
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &File> {
        self.0.values()
    }
}
