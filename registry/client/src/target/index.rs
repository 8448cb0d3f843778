//! `index.json` of an OCI layout: which images there are and what they are called (image specification, "OCI Image
//! Layout", "index.json file").

use std::collections::BTreeMap;

use registry_types::{Descriptor, MediaType};
use serde::{Deserialize, Serialize};

use super::TargetName;
use crate::source::{CONTAINERD_NAME, REFERENCE_NAME};

pub(super) const LAYOUT_FILE: &str = "oci-layout";
pub(super) const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
pub(super) const INDEX_FILE: &str = "index.json";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<MediaType>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    /// What else others have written there.
    #[serde(flatten)]
    other: BTreeMap<String, serde_json::Value>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::known(MediaType::OCI_INDEX)),
            manifests: Vec::new(),
            other: BTreeMap::new(),
        }
    }
}

impl Index {
    /// Puts a manifest in under each of its names, which are taken from others; without a name it is there once.
    pub(super) fn add(&mut self, entry: &Descriptor, names: &[TargetName]) {
        if names.is_empty() {
            if !self.manifests.iter().any(|other| other.digest == entry.digest) {
                self.manifests.push(entry.clone());
            }
            return;
        }
        self.manifests.retain(|other| {
            let nameless =
                annotation(other, CONTAINERD_NAME).is_none() && annotation(other, REFERENCE_NAME).is_none();
            let replaced = names.iter().any(|name| is_called(other, name));
            !(replaced || nameless && other.digest == entry.digest)
        });
        for name in names {
            let mut annotations = entry.annotations.clone().unwrap_or_default();
            annotations.insert(REFERENCE_NAME.to_owned(), name.reference.clone());
            if let Some(image) = &name.image {
                annotations.insert(CONTAINERD_NAME.to_owned(), image.to_string());
            }
            self.manifests.push(Descriptor { annotations: Some(annotations), ..entry.clone() });
        }
    }
}

/// Whether an entry has this very name: the whole one where both have one, else the reference name.
fn is_called(entry: &Descriptor, name: &TargetName) -> bool {
    match (annotation(entry, CONTAINERD_NAME), &name.image) {
        (Some(own), Some(image)) => *own == image.to_string(),
        _ => annotation(entry, REFERENCE_NAME) == Some(&name.reference),
    }
}

fn annotation<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a String> {
    descriptor.annotations.as_ref()?.get(key)
}

#[cfg(test)]
mod tests {
    use registry_types::Digest;

    use super::*;

    fn entry(content: &str) -> Descriptor {
        let size = content.len() as u64;
        Descriptor::new(MediaType::known(MediaType::OCI_MANIFEST), Digest::sha256(content.as_bytes()), size)
    }

    fn names(index: &Index) -> Vec<(u64, Option<&str>)> {
        let name = |entry| annotation(entry, REFERENCE_NAME).map(String::as_str);
        index.manifests.iter().map(|entry| (entry.size, name(entry))).collect()
    }

    #[test]
    fn a_name_moves_and_other_names_stay() {
        let mut index = Index::default();
        let (one, two) = (entry("1"), entry("22"));
        index.add(&one, &[]);
        index.add(&one, &[]);
        assert_eq!(names(&index), [(1, None)]);
        index.add(&one, &[TargetName::reference("a"), TargetName::reference("b")]);
        assert_eq!(names(&index), [(1, Some("a")), (1, Some("b"))]);
        index.add(&two, &[TargetName::reference("a")]);
        assert_eq!(names(&index), [(1, Some("b")), (2, Some("a"))]);
    }

    #[test]
    fn one_tag_of_two_repositories_is_two_names() {
        let mut index = Index::default();
        let name = |text: &str| [TargetName::image(&text.parse().unwrap())];
        index.add(&entry("1"), &name("h.test/a:v1"));
        index.add(&entry("22"), &name("h.test/b:v1"));
        index.add(&entry("333"), &name("h.test/a:v1"));
        assert_eq!(names(&index), [(2, Some("v1")), (3, Some("v1"))]);
    }

    #[test]
    fn what_others_wrote_stays() {
        let text = r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":"b"},"x.example":1}"#;
        let mut index: Index = serde_json::from_str(text).unwrap();
        index.add(&entry("1"), &[]);
        let written = serde_json::to_string(&index).unwrap();
        assert!(written.contains(r#""annotations":{"a":"b"}"#) && written.contains(r#""x.example":1"#));
    }
}
