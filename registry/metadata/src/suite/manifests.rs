//! Manifests: kept as sent, never before their blobs, and tags that point at one of them.

use bytes::Bytes;
use registry_types::{Algorithm, Digest, MediaType, Reference, RepositoryName};
use serde_json::json;

use super::samples::*;
use crate::{Change, Metadata, MetadataError, NewManifest};

async fn digest_of_tag<M: Metadata>(store: &M, repository: &RepositoryName, name: &str) -> Option<Digest> {
    let found = store.manifest(repository, &tag(name).into()).await.unwrap();
    found.map(|record| record.digest)
}

async fn is_there<M: Metadata>(store: &M, manifest: &NewManifest) -> bool {
    store.manifest(&manifest.repository, &manifest.digest.into()).await.unwrap().is_some()
}

pub async fn bytes_are_kept_as_sent<M: Metadata>(store: M) {
    let here = repository("team/app");
    let blobs = [blob("config"), blob("layer")];
    for blob in &blobs {
        store.link_blob(&here, blob, None, Change::now()).await.unwrap();
    }
    // Spaces and line ends that a parser would lose.
    let bytes = Bytes::from(format!(" {:#}\r\n ", image_json(&blobs)));
    let oci = MediaType::known(MediaType::OCI_MANIFEST);
    for algorithm in Algorithm::ALL {
        let new = manifest_of(&here, bytes.clone(), Some(&oci), algorithm, &[algorithm.name()]);
        store.put_manifest(new.clone(), Change::now()).await.unwrap();
        for reference in [Reference::Digest(new.digest), tag(algorithm.name()).into()] {
            // Twice: the second answer may come from memory.
            for _ in 0..2 {
                let record = store.manifest(&here, &reference).await.unwrap().unwrap();
                assert_eq!(record.bytes, bytes);
                assert_eq!((record.digest, &record.media_type), (new.digest, &oci));
            }
        }
    }
    assert_eq!(store.manifest(&repository("team/other"), &tag("sha256").into()).await.unwrap(), None);
    assert_eq!(store.manifest(&here, &tag("none").into()).await.unwrap(), None);
    assert_eq!(store.manifest(&here, &Digest::sha256(b"none").into()).await.unwrap(), None);
}

pub async fn a_manifest_without_its_blobs_is_refused_whole<M: Metadata>(store: M) {
    let here = repository("team/app");
    let blobs = [blob("config"), blob("first"), blob("second")];
    let new = manifest(&here, &image_json(&blobs), &["v1"]);
    let missing = |error| match error {
        MetadataError::MissingBlobs { missing } => missing,
        other => panic!("{other}"),
    };
    let error = store.put_manifest(new.clone(), Change::now()).await.unwrap_err();
    assert_eq!(missing(error), blobs.clone().map(|blob| blob.digest));
    assert!(store.repositories(&page(None, 10)).await.unwrap().entries.is_empty());

    store.link_blob(&here, &blobs[0], None, Change::now()).await.unwrap();
    // A blob of another repository is no blob of this one.
    store.link_blob(&repository("team/other"), &blobs[1], None, Change::now()).await.unwrap();
    let error = store.put_manifest(new.clone(), Change::now()).await.unwrap_err();
    assert_eq!(missing(error), [blobs[1].digest, blobs[2].digest]);
    assert!(!is_there(&store, &new).await);
    assert_eq!(digest_of_tag(&store, &here, "v1").await, None);
    assert!(store.tags(&here, &page(None, 10)).await.unwrap().unwrap().entries.is_empty());

    for blob in &blobs {
        store.link_blob(&here, blob, None, Change::now()).await.unwrap();
    }
    store.put_manifest(new.clone(), Change::now()).await.unwrap();
    assert_eq!(digest_of_tag(&store, &here, "v1").await, Some(new.digest));
}

pub async fn parts_that_need_not_be_here_may_be_missing<M: Metadata>(store: M) {
    let here = repository("team/app");
    let image = linked_image(&store, &here, "app", &[]).await;
    // An index before its children.
    let index = manifest(&here, &index_json(&[&image]), &["index"]);
    store.put_manifest(index.clone(), Change::now()).await.unwrap();
    assert!(!is_there(&store, &image).await, "the child came out of nowhere");
    // A layer that the registry must not hold.
    let mut json = image_json(&[blob("config of app")]);
    json["layers"] = json!([descriptor(MediaType::DOCKER_LAYER_FOREIGN, &blob("elsewhere"))]);
    store.put_manifest(manifest(&here, &json, &["foreign"]), Change::now()).await.unwrap();
    // A subject that was never pushed, and a type whose parts the registry does not know.
    let mut json = image_json(&[blob("config of app")]);
    json["subject"] = descriptor(MediaType::OCI_MANIFEST, &blob("never pushed"));
    store.put_manifest(manifest(&here, &json, &["subject"]), Change::now()).await.unwrap();
    let odd = parse("application/vnd.example.odd.v1+json");
    let bytes = Bytes::from_static(br#"{"layers":[]}"#);
    store
        .put_manifest(manifest_of(&here, bytes, Some(&odd), Algorithm::Sha256, &["odd"]), Change::now())
        .await
        .unwrap();
    let tags = store.tags(&here, &page(None, 10)).await.unwrap().unwrap().entries;
    assert_eq!(tags, ["foreign", "index", "odd", "subject"].map(tag));
}

pub async fn sparse_manifests_are_taken_when_allowed<M: Metadata>(store: M) {
    let here = repository("team/app");
    let mut new = manifest(&here, &image_json(&[blob("config"), blob("layer")]), &["v1"]);
    new.allow_missing_blobs = true;
    store.put_manifest(new.clone(), Change::now()).await.unwrap();
    assert!(is_there(&store, &new).await);
    assert_eq!(store.blob(&here, &blob("layer").digest).await.unwrap(), None);
}

pub async fn a_tag_moves_and_the_old_manifest_stays<M: Metadata>(store: M) {
    let here = repository("team/app");
    let old = pushed_image(&store, &here, "old", &["latest", "v1"]).await;
    assert_eq!(digest_of_tag(&store, &here, "latest").await, Some(old.digest));
    let new = pushed_image(&store, &here, "new", &["latest", "v2", "main"]).await;
    for (name, expected) in [("latest", &new), ("v2", &new), ("main", &new), ("v1", &old)] {
        assert_eq!(digest_of_tag(&store, &here, name).await, Some(expected.digest), "{name}");
    }
    assert!(is_there(&store, &old).await);
}

pub async fn deleting_a_tag_leaves_the_manifest<M: Metadata>(store: M) {
    let here = repository("team/app");
    let image = pushed_image(&store, &here, "app", &["v1", "v2"]).await;
    assert_eq!(digest_of_tag(&store, &here, "v1").await, Some(image.digest));
    assert!(store.delete_tag(&here, &tag("v1"), Change::now()).await.unwrap());
    assert!(!store.delete_tag(&here, &tag("v1"), Change::now()).await.unwrap());
    assert!(!store.delete_tag(&repository("team/none"), &tag("v2"), Change::now()).await.unwrap());
    assert_eq!(digest_of_tag(&store, &here, "v1").await, None);
    assert_eq!(digest_of_tag(&store, &here, "v2").await, Some(image.digest));
    assert!(store.delete_tag(&here, &tag("v2"), Change::now()).await.unwrap());
    assert!(is_there(&store, &image).await);
}

pub async fn a_tag_goes_only_as_it_was_listed<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/copy"));
    let start = time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000);
    let image = linked_image(&store, &here, "app", &["v2", "v1"]).await;
    let other = linked_image(&store, &here, "other", &["v1"]).await;
    pushed_image(&store, &there, "app", &["v3"]).await;
    store.put_manifest(image.clone(), Change::at(start)).await.unwrap();
    assert_eq!(store.tags_of(&here, &image.digest).await.unwrap(), [tag("v1"), tag("v2")]);
    assert_eq!(store.tags_of(&here, &other.digest).await.unwrap(), []);
    assert_eq!(store.tags_of(&repository("team/none"), &image.digest).await.unwrap(), []);

    let listed = store.tag_records(&here, &page(None, 10)).await.unwrap().unwrap().entries;
    let [first, second] = listed.as_slice() else { panic!("{listed:?}") };
    let later = |seconds| Change::at(start + time::Duration::seconds(seconds));
    // Moved, and moved back: the time alone tells.
    store.put_manifest(other.clone(), later(1)).await.unwrap();
    assert!(!store.delete_tag_unchanged(&here, first, later(2)).await.unwrap(), "it names other content");
    let back = NewManifest { tags: vec![tag("v1")], ..image.clone() };
    store.put_manifest(back, later(3)).await.unwrap();
    assert!(!store.delete_tag_unchanged(&here, first, later(4)).await.unwrap(), "it was pushed again");
    assert_eq!(digest_of_tag(&store, &here, "v1").await, Some(image.digest));
    assert!(!store.delete_tag_unchanged(&repository("team/none"), second, later(4)).await.unwrap());
    assert!(store.delete_tag_unchanged(&here, second, later(4)).await.unwrap());
    assert!(!store.delete_tag_unchanged(&here, second, later(4)).await.unwrap());
    assert_eq!(store.tags_of(&here, &image.digest).await.unwrap(), [tag("v1")]);
    assert_eq!(digest_of_tag(&store, &here, "v2").await, None);
}

pub async fn deleting_a_manifest_takes_its_tags_along<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/copy"));
    let image = pushed_image(&store, &here, "app", &["v1", "v2"]).await;
    let kept = pushed_image(&store, &here, "kept", &["v3"]).await;
    let copy = pushed_image(&store, &there, "app", &["v1"]).await;
    assert_eq!(copy.digest, image.digest);
    for name in ["v1", "v2"] {
        assert!(digest_of_tag(&store, &here, name).await.is_some());
    }
    assert!(store.delete_manifest(&here, &image.digest, Change::now()).await.unwrap());
    assert!(!store.delete_manifest(&here, &image.digest, Change::now()).await.unwrap());
    assert!(!store.delete_manifest(&repository("team/none"), &image.digest, Change::now()).await.unwrap());
    assert!(!is_there(&store, &image).await);
    for name in ["v1", "v2"] {
        assert_eq!(digest_of_tag(&store, &here, name).await, None);
    }
    assert_eq!(digest_of_tag(&store, &here, "v3").await, Some(kept.digest));
    assert!(is_there(&store, &copy).await, "the other repository lost it too");
    assert!(store.delete_manifest(&there, &copy.digest, Change::now()).await.unwrap());
    // The bytes are gone from everywhere and can come back.
    store.put_manifest(image.clone(), Change::now()).await.unwrap();
    assert_eq!(digest_of_tag(&store, &here, "v2").await, Some(image.digest));
}

pub async fn the_last_push_says_what_bytes_are<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/other"));
    let mut json = image_json(&[blob("config of app"), blob("layer of app")]);
    json.as_object_mut().expect("an object").remove("mediaType");
    let bytes = Bytes::from(json.to_string());
    let (oci, docker) =
        (MediaType::known(MediaType::OCI_MANIFEST), MediaType::known(MediaType::DOCKER_MANIFEST));
    let typed = |repository, media_type, tags| {
        manifest_of(repository, bytes.clone(), Some(media_type), Algorithm::Sha256, tags)
    };
    for repository in [&here, &there] {
        linked_image(&store, repository, "app", &[]).await;
        store.put_manifest(typed(repository, &oci, &["v1"]), Change::now()).await.unwrap();
        store.manifest(repository, &tag("v1").into()).await.unwrap();
    }
    store.put_manifest(typed(&here, &docker, &["v2"]), Change::now()).await.unwrap();
    let digest = Digest::sha256(&bytes);
    for reference in [Reference::Digest(digest), tag("v1").into(), tag("v2").into()] {
        let record = store.manifest(&here, &reference).await.unwrap().unwrap();
        assert_eq!(record.media_type, docker, "{reference}");
    }
    let record = store.manifest(&there, &digest.into()).await.unwrap().unwrap();
    assert_eq!(record.media_type, oci, "one repository's push changed another's type");
    assert!(store.delete_manifest(&here, &digest, Change::now()).await.unwrap());
    assert_eq!(digest_of_tag(&store, &here, "v1").await, None);
}

pub async fn pushing_again_changes_nothing_but_the_tags<M: Metadata>(store: M) {
    let here = repository("team/app");
    let image = pushed_image(&store, &here, "app", &["v1"]).await;
    let first = store.manifest(&here, &image.digest.into()).await.unwrap().unwrap();
    store.put_manifest(NewManifest { tags: vec![tag("v2")], ..image.clone() }, Change::now()).await.unwrap();
    let second = store.manifest(&here, &tag("v2").into()).await.unwrap().unwrap();
    assert_eq!(first.pushed_at, second.pushed_at, "the time of the first push is kept");
    assert_eq!((first.digest, &first.bytes), (second.digest, &second.bytes));
    assert_eq!(digest_of_tag(&store, &here, "v1").await, Some(image.digest));
}
