//! Blobs are visible where they are linked and nowhere else.

use std::time::Duration;

use registry_types::{Algorithm, BlobLocation, Digest, DigestHasher, UploadId};
use time::OffsetDateTime;

use super::samples::*;
use crate::{Change, Metadata, MetadataError, NewBlob, UploadRecord};

pub async fn a_blob_is_seen_only_where_it_is_linked<M: Metadata>(store: M) {
    let (here, there) = (repository("team/here"), repository("team/there"));
    let blob = blob("content");
    assert_eq!(linked_blob(&store, &here, &blob.digest).await, None);
    assert_eq!(store.blob_anywhere(&blob.digest).await.unwrap(), None);
    for _ in 0..2 {
        store.link_blob(&here, &blob, None, Change::now()).await.unwrap();
        assert_eq!(linked_blob(&store, &here, &blob.digest).await, Some(blob.clone()));
    }
    assert_eq!(linked_blob(&store, &there, &blob.digest).await, None);
    assert_eq!(store.blob_anywhere(&blob.digest).await.unwrap().map(NewBlob::from), Some(blob.clone()));
    // The same raw bytes under another algorithm are another digest.
    let long = NewBlob { digest: Digest::of(Algorithm::Sha512, b"content"), ..blob.clone() };
    assert_eq!(linked_blob(&store, &here, &long.digest).await, None);
    store.link_blob(&here, &long, None, Change::now()).await.unwrap();
    assert_eq!(linked_blob(&store, &here, &long.digest).await, Some(long));
}

pub async fn linking_ends_its_upload<M: Metadata>(store: M) {
    let here = repository("team/here");
    let now = OffsetDateTime::now_utc();
    let session = |id| UploadRecord {
        id,
        repository: here.clone(),
        started_at: now,
        touched_at: now,
        progress: DigestHasher::new(Algorithm::Sha256).save().into(),
        writer: 0,
    };
    let (ended, other) = (UploadId::random(), UploadId::random());
    for id in [ended, other] {
        store.create_upload(&session(id)).await.unwrap();
    }
    store.link_blob(&here, &blob("content"), Some((&ended, 0)), Change::now()).await.unwrap();
    assert!(!store.upload_exists(&ended).await.unwrap());
    assert!(store.upload_exists(&other).await.unwrap(), "another session ended too");
    let lost = async |blob: &NewBlob, writer, id| {
        let error = store.link_blob(&here, blob, Some((&id, writer)), Change::now()).await.unwrap_err();
        assert!(matches!(error, MetadataError::UploadLost { id: lost } if lost == id), "{error}");
        assert_eq!(store.blob(&here, &blob.digest).await.unwrap().map(|found| found.location), None);
    };
    // Another request has claimed the session: what an earlier one stored may be gone at any moment.
    let claimed = store.claim_upload(&here, &other).await.unwrap().unwrap();
    let key = BlobLocation::Key("blobs/ab/one".parse().unwrap());
    let keyed = NewBlob { location: key, ..blob("under a key") };
    lost(&keyed, claimed.writer - 1, other).await;
    lost(&blob("more"), 0, ended).await;
    store.link_blob(&here, &keyed, Some((&other, claimed.writer)), Change::now()).await.unwrap();
    // The engine, or the request, that never saw the answer asks again: only a key proves that it was here.
    store.link_blob(&here, &keyed, Some((&other, claimed.writer)), Change::now()).await.unwrap();
    let elsewhere = NewBlob { location: BlobLocation::Key("blobs/ab/two".parse().unwrap()), ..keyed };
    let again = store.link_blob(&here, &elsewhere, Some((&other, claimed.writer)), Change::now()).await;
    assert!(matches!(again, Err(MetadataError::UploadLost { .. })), "{again:?}");
}

pub async fn the_bytes_of_a_second_upload_are_removed<M: Metadata>(store: M) {
    let at = |key: &str| BlobLocation::Key(key.parse().unwrap());
    let first = NewBlob { location: at("blobs/ab/one"), ..blob("content") };
    let second = NewBlob { location: at("blobs/ab/two"), ..first.clone() };
    for (name, blob) in [("one", &first), ("two", &second), ("one", &first)] {
        let linked = store.link_blob(&repository(name), blob, None, Change::now()).await.unwrap();
        assert_eq!(linked.location, first.location, "a blob moved");
    }
    let later = OffsetDateTime::now_utc() + Duration::from_secs(1);
    let removals = store.removals(later, Duration::from_secs(60), 10).await.unwrap();
    assert_eq!(removals.iter().map(|removal| &removal.location).collect::<Vec<_>>(), [&second.location]);
    assert!(store.removal_wanted(&removals[0]).await.unwrap());
}

pub async fn a_blob_is_mounted_only_from_where_it_is<M: Metadata>(store: M) {
    let (from, to, empty) = (repository("team/from"), repository("team/to"), repository("team/empty"));
    let blob = blob("content");
    assert_eq!(store.mount_blob(None, &to, &blob.digest, Change::now()).await.unwrap(), None);
    store.link_blob(&from, &blob, None, Change::now()).await.unwrap();
    assert_eq!(store.mount_blob(Some(&empty), &to, &blob.digest, Change::now()).await.unwrap(), None);
    assert_eq!(linked_blob(&store, &to, &blob.digest).await, None);
    let names = store.repositories(&page(None, 10)).await.unwrap().entries;
    assert_eq!(names, std::slice::from_ref(&from), "a mount that found nothing made a repository");

    assert_eq!(
        store.mount_blob(Some(&from), &to, &blob.digest, Change::now()).await.unwrap().map(NewBlob::from),
        Some(blob.clone())
    );
    assert_eq!(linked_blob(&store, &to, &blob.digest).await, Some(blob.clone()));
    assert_eq!(
        store.mount_blob(None, &empty, &blob.digest, Change::now()).await.unwrap().map(NewBlob::from),
        Some(blob.clone())
    );
    assert_eq!(linked_blob(&store, &empty, &blob.digest).await, Some(blob));
}

pub async fn an_unlinked_blob_is_gone_and_its_manifests_stay<M: Metadata>(store: M) {
    let (here, there) = (repository("team/here"), repository("team/there"));
    let image = pushed_image(&store, &here, "app", &["v1"]).await;
    let layer = image.view.layers[0].digest;
    store.mount_blob(Some(&here), &there, &layer, Change::now()).await.unwrap();
    // Asked for first, so that an engine that remembers must forget.
    assert!(store.blob(&here, &layer).await.unwrap().is_some());

    assert!(store.unlink_blob(&here, &layer, Change::now()).await.unwrap());
    assert!(!store.unlink_blob(&here, &layer, Change::now()).await.unwrap());
    assert!(!store.unlink_blob(&repository("team/none"), &layer, Change::now()).await.unwrap());
    assert_eq!(store.blob(&here, &layer).await.unwrap(), None);
    assert!(store.blob(&there, &layer).await.unwrap().is_some(), "the other repository lost it too");
    assert!(store.blob_anywhere(&layer).await.unwrap().is_some());
    assert!(store.manifest(&here, &tag("v1").into()).await.unwrap().is_some());
    assert!(store.unlink_blob(&there, &layer, Change::now()).await.unwrap());
    assert_eq!(store.blob_anywhere(&layer).await.unwrap(), None);
    // A new manifest cannot lean on it any more.
    let mut json = image_json(&[blob("config of app"), blob("layer of app")]);
    json["annotations"] = serde_json::json!({ "another": "manifest" });
    let error = store.put_manifest(manifest(&here, &json, &[]), Change::now()).await.unwrap_err();
    assert!(matches!(error, MetadataError::MissingBlobs { missing } if missing == [layer]));
}

pub async fn a_blob_of_another_size_is_refused<M: Metadata>(store: M) {
    let here = repository("team/here");
    let blob = blob("content");
    store.link_blob(&here, &blob, None, Change::now()).await.unwrap();
    let longer = NewBlob { size: blob.size + 1, ..blob.clone() };
    let error = store.link_blob(&repository("team/there"), &longer, None, Change::now()).await.unwrap_err();
    assert!(matches!(error, MetadataError::Damaged { .. }), "{error}");
    assert_eq!(linked_blob(&store, &here, &blob.digest).await, Some(blob.clone()));
    assert_eq!(linked_blob(&store, &repository("team/there"), &blob.digest).await, None);
}
