//! Operations over a small universe, so that a random sequence often meets itself.

use proptest::prelude::*;
use registry_types::{MediaType, RepositoryName, Tag};
use serde_json::json;

use super::samples::*;
use crate::{NewBlob, NewManifest};

pub(super) const REPOSITORIES: usize = 3;
pub(super) const BLOBS: usize = 3;
pub(super) const MANIFESTS: usize = 6;
pub(super) const TAGS: usize = 3;

/// One call; numbers name members of the universe.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    LinkBlob { repository: usize, blob: usize },
    MountBlob { from: Option<usize>, to: usize, blob: usize },
    UnlinkBlob { repository: usize, blob: usize },
    PutManifest { repository: usize, manifest: usize, tags: Vec<usize>, allow_missing: bool },
    DeleteTag { repository: usize, tag: usize },
    DeleteManifest { repository: usize, manifest: usize },
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let repository = 0..REPOSITORIES;
    let blob = 0..BLOBS;
    let manifest = 0..MANIFESTS;
    let tag = 0..TAGS;
    let tags = proptest::collection::vec(tag.clone(), 0..3);
    prop_oneof![
        4 => (repository.clone(), blob.clone())
            .prop_map(|(repository, blob)| Operation::LinkBlob { repository, blob }),
        2 => (proptest::option::of(repository.clone()), repository.clone(), blob.clone())
            .prop_map(|(from, to, blob)| Operation::MountBlob { from, to, blob }),
        1 => (repository.clone(), blob)
            .prop_map(|(repository, blob)| Operation::UnlinkBlob { repository, blob }),
        6 => (repository.clone(), manifest.clone(), tags, proptest::bool::weighted(0.2)).prop_map(
            |(repository, manifest, tags, allow_missing)| Operation::PutManifest {
                repository, manifest, tags, allow_missing,
            },
        ),
        2 => (repository.clone(), tag)
            .prop_map(|(repository, tag)| Operation::DeleteTag { repository, tag }),
        2 => (repository, manifest)
            .prop_map(|(repository, manifest)| Operation::DeleteManifest { repository, manifest }),
    ]
}

pub(super) fn repository_of(number: usize) -> RepositoryName {
    repository(["a", "a/b", "b"][number])
}

pub(super) fn blob_of(number: usize) -> NewBlob {
    blob(&format!("blob {number}"))
}

pub(super) fn tag_of(number: usize) -> Tag {
    tag(["latest", "v1", "v2"][number])
}

/// Manifest 0 is an image, 1 and 2 refer to it, 3 is the bytes of 0 without their type declared as OCI and 4 the
/// same bytes declared as Docker's, 5 is an index.
pub(super) fn manifest_number(repository: &RepositoryName, number: usize) -> NewManifest {
    let image = image_json(&[blob_of(0), blob_of(1)]);
    let plain = manifest(repository, &image, &[]);
    let subject = json!({
        "mediaType": MediaType::OCI_MANIFEST,
        "digest": plain.digest.to_string(),
        "size": plain.bytes.len(),
    });
    match number {
        0 => plain,
        1 | 2 => {
            let mut json = image_json(&[blob_of(number)]);
            json["subject"] = subject;
            if number == 1 {
                json["artifactType"] = "application/vnd.example.signature".into();
            }
            manifest(repository, &json, &[])
        }
        3 | 4 => {
            let mut json = image_json(&[blob_of(2)]);
            json.as_object_mut().expect("an object").remove("mediaType");
            let declared = if number == 3 { MediaType::OCI_MANIFEST } else { MediaType::DOCKER_MANIFEST };
            let declared = MediaType::known(declared);
            let bytes = json.to_string().into();
            manifest_of(repository, bytes, Some(&declared), registry_types::Algorithm::Sha256, &[])
        }
        _ => manifest(repository, &index_json(&[&plain]), &[]),
    }
}
