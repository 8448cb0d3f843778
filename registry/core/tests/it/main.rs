//! The use cases over the real stores.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod collection;
mod events;
mod failures;
mod fake_upstream;
mod mirrored_blobs;
mod mirrored_fan_out;
mod mirrored_manifests;
mod policies;
mod replicas;
mod retention;

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use registry_auth::{Access, Delete, Grant, Identity, Permission, Pull, Push};
use registry_blobs::{BlobStore, LocalBlobs};
use registry_core::{BodyError, CoreError, Limits, ManifestPush, Mounted, PageQuery, Registry, UploadBody};
use registry_metadata::SqliteMetadata;
use registry_types::{Algorithm, ContentRange, Digest, MediaType, Reference, UploadId};
use tempfile::TempDir;

type TestRegistry = Registry<SqliteMetadata, LocalBlobs>;

async fn registry_with(limits: Limits) -> (TestRegistry, LocalBlobs, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
    let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.unwrap();
    (Registry::new(metadata, blobs.clone(), limits), blobs, folder)
}

async fn registry() -> (TestRegistry, TempDir) {
    let (registry, _, folder) = registry_with(Limits::default()).await;
    (registry, folder)
}

fn grant<P: Permission>(repository: &str) -> Grant<P> {
    Access::unrestricted(Identity::anonymous()).grant(&repository.parse().unwrap()).unwrap()
}

fn body(chunks: &[&[u8]]) -> UploadBody {
    let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    Box::pin(stream::iter(chunks))
}

/// A body whose connection is cut behind `content`.
fn cut_body(content: &[u8]) -> UploadBody {
    let chunks =
        vec![Ok(Bytes::copy_from_slice(content)), Err(BodyError::Cut("the connection was cut".to_owned()))];
    Box::pin(stream::iter(chunks))
}

fn range(start: u64, last: u64) -> Option<ContentRange> {
    Some(ContentRange { start, last })
}

async fn push(registry: &TestRegistry, repository: &str, content: &[u8]) -> Digest {
    let digest = Digest::sha256(content);
    registry.push_blob(&grant(repository), body(&[content]), digest).await.unwrap();
    digest
}

fn image(config: &Digest) -> Bytes {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":2}},"layers":[]}}"#
    )
    .into()
}

fn manifest_push(reference: Reference, bytes: Bytes) -> ManifestPush {
    ManifestPush {
        reference,
        media_type: Some(MediaType::known(MediaType::OCI_MANIFEST)),
        bytes,
        tags: Vec::new(),
    }
}

#[tokio::test]
async fn a_chunked_upload_becomes_a_blob() {
    let (registry, _folder) = registry().await;
    let push = grant::<Push>("a/b");
    let upload = registry.start_upload(&push, Algorithm::Sha256).await.unwrap();
    let status = registry.append(&push, upload.id, range(0, 4), body(&[b"he", b"llo"])).await.unwrap();
    assert_eq!(status.length, 5);
    let digest = Digest::sha256(b"hello world");
    registry.complete(&push, upload.id, range(5, 10), body(&[b" world"]), digest).await.unwrap();
    assert_eq!(registry.blob_size(&grant::<Pull>("a/b"), &digest).await.unwrap(), 11);
    assert!(matches!(registry.upload_status(&push, upload.id).await, Err(CoreError::UploadUnknown { .. })));
    let elsewhere = registry.blob_size(&grant::<Pull>("other"), &digest).await;
    assert!(
        matches!(elsewhere, Err(CoreError::BlobUnknown { .. })),
        "a blob shows in a repository it was not pushed to"
    );
}

#[tokio::test]
async fn what_arrived_before_a_cut_is_kept() {
    let (registry, _folder) = registry().await;
    let push = grant::<Push>("a");
    let upload = registry.start_upload(&push, Algorithm::Sha256).await.unwrap();
    let cut = registry.append(&push, upload.id, None, cut_body(b"first")).await;
    assert!(matches!(cut, Err(CoreError::BodyCut { .. })));
    assert_eq!(registry.upload_status(&push, upload.id).await.unwrap().length, 5);
    let wrong = registry.append(&push, upload.id, range(3, 9), body(&[b"xxxxxxx"])).await;
    assert!(matches!(wrong, Err(CoreError::WrongOffset { length: 5, .. })));
    let digest = Digest::sha256(b"first and rest");
    registry.complete(&push, upload.id, range(5, 13), body(&[b" and rest"]), digest).await.unwrap();
    registry.open_blob(&grant::<Pull>("a"), &digest).await.unwrap();
}

#[tokio::test]
async fn a_cut_last_chunk_can_be_sent_again() {
    let (registry, _folder) = registry().await;
    let push = grant::<Push>("a");
    let upload = registry.start_upload(&push, Algorithm::Sha256).await.unwrap();
    registry.append(&push, upload.id, None, body(&[b"one "])).await.unwrap();
    let digest = Digest::sha256(b"one two");
    registry.complete(&push, upload.id, None, cut_body(b"tw"), digest).await.unwrap_err();
    assert_eq!(registry.upload_status(&push, upload.id).await.unwrap().length, 4);
    registry.complete(&push, upload.id, None, body(&[b"two"]), digest).await.unwrap();
}

#[tokio::test]
async fn a_wrong_digest_ends_the_session_and_stores_nothing() {
    let (registry, folder) = registry().await;
    let push = grant::<Push>("a");
    let upload = registry.start_upload(&push, Algorithm::Sha256).await.unwrap();
    let (told, sent) = (Digest::sha256(b"told"), Digest::sha256(b"sent"));
    let refused = registry.complete(&push, upload.id, None, body(&[b"sent"]), told).await;
    assert!(
        matches!(refused, Err(CoreError::DigestMismatch { expected, actual }) if expected == told && actual == sent)
    );
    let direct = registry.push_blob(&push, body(&[b"sent"]), told).await;
    assert!(matches!(direct, Err(CoreError::DigestMismatch { .. })));
    for digest in [told, sent] {
        assert!(registry.blob_size(&grant::<Pull>("a"), &digest).await.is_err());
    }
    assert!(matches!(registry.upload_status(&push, upload.id).await, Err(CoreError::UploadUnknown { .. })));
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0, "session files stay");
}

#[tokio::test]
async fn a_session_belongs_to_its_repository() {
    let (registry, _folder) = registry().await;
    let upload = registry.start_upload(&grant("a"), Algorithm::Sha256).await.unwrap();
    let foreign = grant::<Push>("b");
    assert!(registry.append(&foreign, upload.id, None, body(&[b"x"])).await.is_err());
    assert!(registry.cancel_upload(&foreign, upload.id).await.is_err());
    registry.cancel_upload(&grant("a"), upload.id).await.unwrap();
    assert!(registry.cancel_upload(&grant("a"), UploadId::random()).await.is_err());
}

#[tokio::test]
async fn a_session_hashed_with_one_algorithm_may_end_with_another() {
    let (registry, _folder) = registry().await;
    let push = grant::<Push>("a");
    let upload = registry.start_upload(&push, Algorithm::Sha256).await.unwrap();
    let digest = Digest::of(Algorithm::Sha512, b"content");
    registry.complete(&push, upload.id, None, body(&[b"content"]), digest).await.unwrap();
    registry.open_blob(&grant::<Pull>("a"), &digest).await.unwrap();
}

#[tokio::test]
async fn mounting_needs_the_source_or_the_right_to_everything() {
    let (registry, _folder) = registry().await;
    let digest = push(&registry, "source", b"layer").await;
    let to = grant::<Push>("target");
    let blind = registry.mount(&to, None, None, &digest).await.unwrap();
    assert!(matches!(blind, Mounted::Upload(_)), "a digest alone gave content");
    assert!(registry.blob_size(&grant::<Pull>("target"), &digest).await.is_err());
    let wrong = registry.mount(&to, Some(&grant("elsewhere")), None, &digest).await.unwrap();
    assert!(matches!(wrong, Mounted::Upload(_)));
    let mounted = registry.mount(&to, Some(&grant("source")), None, &digest).await.unwrap();
    assert_eq!(mounted, Mounted::Linked);
    assert_eq!(registry.blob_size(&grant::<Pull>("target"), &digest).await.unwrap(), 5);
    let everything = Access::unrestricted(Identity::anonymous()).grant_catalog().unwrap();
    let anywhere = registry.mount(&grant("third"), None, Some(&everything), &digest).await.unwrap();
    assert_eq!(anywhere, Mounted::Linked);
}

#[tokio::test]
async fn manifests_are_kept_byte_for_byte_and_need_their_parts() {
    let (registry, _folder) = registry().await;
    let push_grant = grant::<Push>("a");
    let odd: Bytes = format!("  {} \n", String::from_utf8_lossy(&image(&Digest::sha256(b"{}")))).into();
    let tag: Reference = "v1".parse::<Reference>().unwrap();
    let missing = registry.push_manifest(&push_grant, manifest_push(tag.clone(), odd.clone())).await;
    assert!(
        matches!(missing, Err(CoreError::MissingBlobs { missing }) if missing == [Digest::sha256(b"{}")])
    );
    push(&registry, "a", b"{}").await;
    let pushed = registry.push_manifest(&push_grant, manifest_push(tag.clone(), odd.clone())).await.unwrap();
    let record = registry.manifest(&grant("a"), &tag).await.unwrap();
    assert_eq!((record.bytes.clone(), record.digest), (odd.clone(), pushed.digest));
    let lying = manifest_push(Reference::Digest(Digest::sha256(b"other")), odd);
    assert!(matches!(
        registry.push_manifest(&push_grant, lying).await,
        Err(CoreError::DigestMismatch { .. })
    ));
}

#[tokio::test]
async fn sparse_manifests_are_taken_when_allowed() {
    let limits = Limits { sparse_manifests: true, ..Limits::default() };
    let (registry, _, _folder) = registry_with(limits).await;
    let sparse = manifest_push("v1".parse::<Reference>().unwrap(), image(&Digest::sha256(b"absent")));
    registry.push_manifest(&grant("a"), sparse).await.unwrap();
}

#[tokio::test]
async fn deleting_a_tag_leaves_the_manifest_and_deleting_the_manifest_takes_its_tags() {
    let (registry, _folder) = registry().await;
    let config = push(&registry, "a", b"{}").await;
    let mut first = manifest_push("one".parse::<Reference>().unwrap(), image(&config));
    let digest = registry.push_manifest(&grant("a"), first.clone()).await.unwrap().digest;
    first.reference = Reference::Digest(digest);
    first.tags = vec!["two".parse().unwrap(), "three".parse().unwrap()];
    let pushed = registry.push_manifest(&grant("a"), first).await.unwrap();
    assert_eq!(pushed.tags.len(), 2);
    let delete = grant::<Delete>("a");
    registry.delete_manifest(&delete, &"one".parse().unwrap()).await.unwrap();
    assert!(registry.delete_manifest(&delete, &"one".parse().unwrap()).await.is_err());
    registry.manifest(&grant("a"), &Reference::Digest(digest)).await.unwrap();
    registry.delete_manifest(&delete, &Reference::Digest(digest)).await.unwrap();
    assert!(registry.manifest(&grant("a"), &"two".parse().unwrap()).await.is_err());
    let tags = registry.tags(&grant("a"), PageQuery::default()).await.unwrap();
    assert!(tags.entries.is_empty() && !tags.more);
    assert!(matches!(
        registry.tags(&grant("unknown"), PageQuery::default()).await,
        Err(CoreError::RepositoryUnknown { .. })
    ));
}

#[tokio::test]
async fn a_sweep_removes_idle_sessions_and_files_without_a_row() {
    let limits = Limits { upload_idle: Duration::ZERO, ..Limits::default() };
    let (registry, blobs, folder) = registry_with(limits).await;
    let push = grant::<Push>("a");
    let upload = registry.start_upload(&push, Algorithm::Sha256).await.unwrap();
    registry.append(&push, upload.id, None, body(&[b"abandoned"])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let swept = registry.sweep_uploads().await.unwrap();
    assert_eq!(swept.sessions, 1);
    assert!(registry.upload_status(&push, upload.id).await.is_err());
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
    // A file that no row names counts as garbage only when it is old.
    let orphan = UploadId::random();
    let start = registry_types::DigestHasher::new(Algorithm::Sha256).save();
    drop(blobs.resume(orphan, 0, &start.clone().into()).await.unwrap());
    assert_eq!(registry.sweep_uploads().await.unwrap().files, 0, "a young file was removed");
}

#[tokio::test]
async fn one_blob_pushed_by_many_at_once_is_stored_once() {
    let (registry, folder) = registry().await;
    let content = vec![7_u8; 300_000];
    let digest = Digest::sha256(&content);
    let pushes = (0..8).map(|number| {
        let (registry, content) = (registry.clone(), content.clone());
        tokio::spawn(async move {
            registry.push_blob(&grant(&format!("repository{number}")), body(&[&content]), digest).await
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.unwrap().unwrap();
    }
    for number in 0..8 {
        registry.open_blob(&grant::<Pull>(&format!("repository{number}")), &digest).await.unwrap();
    }
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
}
