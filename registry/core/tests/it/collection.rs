//! Collection beside everything else, over the real stores: it takes what nothing needs, and nothing else, whatever
//! goes on at once.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use registry_blobs::{BlobError, BlobHandle, BlobStore, LocalBlobs, LocalWriter};
use registry_core::{CoreError, Limits, Mounted, Registry};
use registry_metadata::{CollectPolicy, SqliteMetadata};
use registry_types::{BlobLocation, Digest, UploadId, UploadProgress};
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::{
    Delete, Pull, Push, TestRegistry, body, grant, image, manifest_push, push, registry, registry_with,
};

/// Longer than the usual lease.
const LATER: Duration = Duration::from_hours(25);

/// Collects what is due `after` from now, until nothing more is.
async fn collect(registry: &TestRegistry, after: Duration) -> (u64, u64) {
    let (mut blobs, mut bytes) = (0, 0);
    loop {
        let round = registry.collect(OffsetDateTime::now_utc() + after).await.unwrap();
        blobs += round.removed;
        bytes += round.removed_bytes;
        let removed = round.collected.removed;
        if removed.links + removed.manifests + removed.blobs + round.removed == 0 && !round.more {
            return (blobs, bytes);
        }
    }
}

fn blob_files(folder: &Path) -> usize {
    fn count(folder: &Path) -> usize {
        let entries = std::fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
        entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
    }
    count(&folder.join("docker"))
}

#[tokio::test]
async fn a_blob_that_nothing_names_goes_when_its_lease_is_out() {
    let (registry, folder) = registry().await;
    let kept = push(&registry, "a", b"{}").await;
    registry
        .push_manifest(&grant("a"), manifest_push("latest".parse().unwrap(), image(&kept)))
        .await
        .unwrap();
    let lost = push(&registry, "a", b"nobody names this").await;
    assert_eq!(collect(&registry, Duration::ZERO).await, (0, 0), "a lease was not honoured");
    assert_eq!(blob_files(folder.path()), 2);
    assert_eq!(collect(&registry, LATER).await, (1, 17));
    assert_eq!(blob_files(folder.path()), 1);
    let pull = grant::<Pull>("a");
    assert!(matches!(registry.blob_size(&pull, &lost).await, Err(CoreError::BlobUnknown { .. })));
    registry.open_blob(&pull, &kept).await.unwrap();
    // The same bytes again are new bytes.
    push(&registry, "a", b"nobody names this").await;
    registry.open_blob(&pull, &lost).await.unwrap();
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_blobs_along_where_no_other_names_them() {
    let (registry, folder) = registry().await;
    let config = push(&registry, "a", b"{}").await;
    let manifest = image(&config);
    registry
        .push_manifest(&grant("a"), manifest_push("one".parse().unwrap(), manifest.clone()))
        .await
        .unwrap();
    let mounted = registry.mount(&grant("b"), Some(&grant("a")), None, &config).await.unwrap();
    assert_eq!(mounted, Mounted::Linked);
    registry
        .push_manifest(&grant("b"), manifest_push("one".parse().unwrap(), manifest.clone()))
        .await
        .unwrap();
    let reference = Digest::sha256(&manifest).into();
    registry.delete_manifest(&grant::<Delete>("a"), &reference).await.unwrap();
    assert_eq!(collect(&registry, LATER).await, (0, 0), "the bytes are needed elsewhere");
    assert!(registry.blob_size(&grant::<Pull>("a"), &config).await.is_err(), "the link stays for nothing");
    registry.open_blob(&grant::<Pull>("b"), &config).await.unwrap();
    registry.delete_manifest(&grant::<Delete>("b"), &reference).await.unwrap();
    assert_eq!(collect(&registry, LATER).await, (1, 2));
    assert_eq!(blob_files(folder.path()), 0);
}

#[tokio::test]
async fn who_asks_for_a_blob_may_count_on_it() {
    let limits = Limits { lease: Duration::from_secs(2), ..Limits::default() };
    let (registry, _, _folder) = registry_with(limits).await;
    let digest = push(&registry, "a", b"{}").await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    registry.blob_size(&grant("a"), &digest).await.unwrap();
    // The first lease is out by then, the one that the question took is not.
    assert_eq!(collect(&registry, Duration::from_millis(1_000)).await, (0, 0));
    registry.blob_size(&grant("a"), &digest).await.unwrap();
    assert_eq!(collect(&registry, Duration::from_secs(4)).await, (1, 2));
}

/// Pushers that all use the same few blobs, with leases so short that collection is always after them: whatever was
/// acknowledged is there, and in the end exactly what is needed is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acknowledged_image_ever_lacks_a_blob() {
    const PUSHERS: usize = 6;
    const ROUNDS: usize = 60;
    let collection = CollectPolicy { untagged_after: Some(Duration::ZERO), ..CollectPolicy::default() };
    let limits = Limits { lease: Duration::from_millis(3), collection, ..Limits::default() };
    let (registry, _, folder) = registry_with(limits).await;
    let done = Arc::new(AtomicBool::new(false));
    let collector = tokio::spawn({
        let (registry, done) = (registry.clone(), done.clone());
        async move {
            let mut removed = 0;
            while !done.load(Ordering::Relaxed) {
                removed += registry.collect(OffsetDateTime::now_utc()).await.unwrap().removed;
            }
            removed
        }
    });
    let pushers = (0..PUSHERS).map(|pusher| {
        let registry = registry.clone();
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                push_and_check(&registry, pusher, round).await;
            }
        })
    });
    for pusher in pushers.collect::<Vec<_>>() {
        pusher.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(collector.await.unwrap() > 0, "nothing was collected: the race was not run");
    collect(&registry, LATER).await;
    assert_eq!(blob_files(folder.path()), 0, "everything was untagged");
}

/// Pushes an image of one of a few blobs, reads it back, untags it.
async fn push_and_check(registry: &TestRegistry, pusher: usize, round: usize) {
    let repository = format!("r{}", pusher % 2);
    let (push_grant, pull) = (grant::<Push>(&repository), grant::<Pull>(&repository));
    let content = format!("blob {}", (pusher + round) % 3);
    let tag = format!("t{pusher}");
    loop {
        let digest = push(registry, &repository, content.as_bytes()).await;
        let manifest = manifest_push(tag.parse().unwrap(), image(&digest));
        match registry.push_manifest(&push_grant, manifest).await {
            // Its lease of a moment was over before the manifest came, and the client was told.
            Err(CoreError::MissingBlobs { .. }) => continue,
            pushed => pushed.unwrap(),
        };
        let opened = registry.open_blob(&pull, &digest).await;
        assert!(opened.is_ok(), "an acknowledged image lacks its blob: {opened:?}");
        registry.manifest(&pull, &tag.parse().unwrap()).await.unwrap();
        registry.delete_manifest(&grant::<Delete>(&repository), &tag.parse().unwrap()).await.unwrap();
        return;
    }
}

/// Tells when a removal begins, and takes its time for it.
#[derive(Debug, Clone)]
struct SlowRemovals {
    blobs: LocalBlobs,
    begun: Arc<Notify>,
}

impl BlobStore for SlowRemovals {
    type Writer = LocalWriter;

    fn records_sessions(&self) -> bool {
        self.blobs.records_sessions()
    }

    async fn ping(&self) -> Result<(), BlobError> {
        self.blobs.ping().await
    }

    async fn resume(
        &self,
        id: UploadId,
        writer: u64,
        progress: &UploadProgress,
    ) -> Result<LocalWriter, BlobError> {
        self.blobs.resume(id, writer, progress).await
    }

    async fn abort(&self, id: UploadId, progress: Option<&UploadProgress>) -> Result<(), BlobError> {
        self.blobs.abort(id, progress).await
    }

    async fn abandon(&self, id: UploadId, progress: Option<&UploadProgress>) -> Result<(), BlobError> {
        self.blobs.abandon(id, progress).await
    }

    async fn open(
        &self,
        digest: &Digest,
        location: &BlobLocation,
        size: u64,
    ) -> Result<Option<BlobHandle>, BlobError> {
        self.blobs.open(digest, location, size).await
    }

    async fn remove(&self, digest: &Digest, location: &BlobLocation) -> Result<bool, BlobError> {
        self.begun.notify_one();
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.blobs.remove(digest, location).await
    }

    async fn discard(&self, leftovers: Vec<BlobLocation>) -> Result<(), BlobError> {
        self.blobs.discard(leftovers).await
    }

    async fn stale_sessions(&self, age: Duration) -> Result<Vec<UploadId>, BlobError> {
        self.blobs.stale_sessions(age).await
    }
}

#[tokio::test]
async fn bytes_pushed_while_they_are_removed_are_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
    let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.unwrap();
    let begun = Arc::new(Notify::new());
    let registry = Registry::new(metadata, SlowRemovals { blobs, begun: begun.clone() }, Limits::default());
    let digest = Digest::sha256(b"{}");
    registry.push_blob(&grant("a"), body(&[b"{}"]), digest).await.unwrap();
    let collector = registry.clone();
    let collecting = tokio::spawn(async move {
        let mut removed = 0;
        while removed == 0 {
            removed = collector.collect(OffsetDateTime::now_utc() + LATER).await.unwrap().removed;
        }
    });
    begun.notified().await;
    registry.push_blob(&grant("a"), body(&[b"{}"]), digest).await.unwrap();
    collecting.await.unwrap();
    registry.open_blob(&grant::<Pull>("a"), &digest).await.unwrap();
}

#[tokio::test]
async fn bytes_that_a_crash_left_on_the_list_go_later() {
    let (first, blobs, folder) = registry_with(Limits::default()).await;
    push(&first, "a", b"lost").await;
    let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
    let later = OffsetDateTime::now_utc() + LATER;
    // The rows go, and the server dies before the bytes do.
    drop(first);
    for _ in 0..3 {
        registry_metadata::CollectionMetadata::collect(&metadata, &CollectPolicy::default(), later, 10)
            .await
            .unwrap();
    }
    assert_eq!(blob_files(folder.path()), 1);
    let registry = Registry::new(metadata, blobs, Limits::default());
    assert_eq!(collect(&registry, LATER).await, (1, 4));
    assert_eq!(blob_files(folder.path()), 0);
}
