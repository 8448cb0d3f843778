//! Several replicas on one metadata store and one object store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use registry_auth::{Pull, Push};
use registry_blobs::{
    MemoryStore, ObjectBlobs,
    suite::{content, read},
};
use registry_core::{CoreError, Limits, Registry, UploadBody};
use registry_metadata::{SqliteMetadata, UploadMetadata};
use registry_types::{Algorithm, Digest, UploadId};
use time::OffsetDateTime;

use crate::{body, cut_body, failures::sent_by_hand, grant, range};

type Replica = Registry<SqliteMetadata, ObjectBlobs>;

struct Replicas {
    metadata: SqliteMetadata,
    objects: Arc<MemoryStore>,
    _folder: tempfile::TempDir,
}

impl Replicas {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
        Self { metadata, objects: Arc::new(MemoryStore::default()), _folder: folder }
    }

    fn with(&self, limits: Limits) -> Replica {
        Registry::new(self.metadata.clone(), ObjectBlobs::in_memory(&self.objects), limits)
    }

    fn start(&self) -> Replica {
        self.with(Limits::default())
    }

    async fn uploads(&self) -> usize {
        let later = OffsetDateTime::now_utc() + Duration::from_secs(60);
        self.metadata.stale_uploads(later, 100).await.unwrap().len()
    }

    /// Checks that `count` objects are all there is.
    async fn assert_only(&self, count: usize) {
        let objects = self.objects.objects().await;
        assert_eq!(
            (objects.len(), self.objects.multiparts(), self.uploads().await),
            (count, 0, 0),
            "{objects:?}"
        );
    }
}

async fn assert_served(replica: &Replica, repository: &str, bytes: &[u8]) {
    let blob = replica.open_blob(&grant::<Pull>(repository), &Digest::sha256(bytes)).await.unwrap();
    assert!(read(&blob.handle).await.unwrap() == bytes);
}

fn chunks(bytes: &[u8]) -> UploadBody {
    body(&bytes.chunks(10_000).collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_one_upload_land_on_different_replicas() {
    let replicas = Replicas::new();
    let bytes = content(1_500_000, 1);
    let access = grant::<Push>("a");
    let upload = replicas.start().start_upload(&access, Algorithm::Sha256).await.unwrap();
    let mut start = 0;
    for end in [5, 70_000, 900_000, 900_001, 1_400_000] {
        let range = range(start as u64, end as u64 - 1);
        let status =
            replicas.start().append(&access, upload.id, range, chunks(&bytes[start..end])).await.unwrap();
        assert_eq!(status.length, end as u64);
        assert_eq!(replicas.start().upload_status(&access, upload.id).await.unwrap(), status);
        start = end;
    }
    let last = replicas.start();
    last.complete(&access, upload.id, None, chunks(&bytes[start..]), Digest::sha256(&bytes)).await.unwrap();
    last.drain().await;
    assert_served(&replicas.start(), "a", &bytes).await;
    replicas.assert_only(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_in_one_request_leaves_its_blob_or_nothing() {
    let replicas = Replicas::new();
    let replica = replicas.start();
    for length in [0, 1, 100_000, 3_000_000] {
        let bytes = content(length, 2);
        let wrong = replica.push_blob(&grant("a"), chunks(&bytes), Digest::sha256(b"other")).await;
        assert!(matches!(wrong, Err(CoreError::DigestMismatch { .. })), "{wrong:?}");
        let cut = replica.push_blob(&grant("a"), cut_body(&bytes), Digest::sha256(&bytes)).await;
        assert!(matches!(cut, Err(CoreError::BodyCut { .. })), "{cut:?}");
        replicas.assert_only(0).await;
        replica.push_blob(&grant("a"), chunks(&bytes), Digest::sha256(&bytes)).await.unwrap();
        assert_served(&replica, "a", &bytes).await;
        let (digest, location) = {
            use registry_metadata::BlobMetadata;
            let blob = replicas.metadata.blob_anywhere(&Digest::sha256(&bytes)).await.unwrap().unwrap();
            (blob.digest, blob.location)
        };
        replicas.assert_only(1).await;
        // The same content once more, by another replica: its own object goes.
        let other = replicas.start();
        other.push_blob(&grant("b"), chunks(&bytes), digest).await.unwrap();
        other.drain().await;
        assert_eq!(replica.collect(OffsetDateTime::now_utc()).await.unwrap().removed, 1);
        replicas.assert_only(1).await;
        assert_served(&other, "b", &bytes).await;
        use registry_blobs::BlobStore;
        ObjectBlobs::in_memory(&replicas.objects).remove(&digest, &location).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_goes_on_at_another_replica_while_the_first_still_waits() {
    let replicas = Replicas::new();
    let (first, second) = (replicas.start(), replicas.start());
    let bytes = content(1_000_000, 3);
    let access = grant::<Push>("a");
    let upload = first.start_upload(&access, Algorithm::Sha256).await.unwrap();
    first.append(&access, upload.id, None, chunks(&bytes[..200_000])).await.unwrap();
    let (sender, hanging) = sent_by_hand();
    let old = tokio::spawn({
        let (first, access) = (first.clone(), access.clone());
        async move { first.append(&access, upload.id, None, hanging).await }
    });
    // More than a part, so that some of it is stored; then the connection hangs.
    sender.send(Bytes::copy_from_slice(&content(500_000, 4))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let status = second.upload_status(&access, upload.id).await.unwrap();
    let rest = &bytes[status.length as usize..];
    let status = second.append(&access, upload.id, None, chunks(&rest[..300_000])).await.unwrap();
    sender.send(Bytes::copy_from_slice(&content(500_000, 5))).await.unwrap();
    drop(sender);
    let old = old.await.unwrap();
    assert!(matches!(old, Err(CoreError::UploadUnknown { .. })), "{old:?}");
    let rest = &bytes[status.length as usize..];
    second.complete(&access, upload.id, None, chunks(rest), Digest::sha256(&bytes)).await.unwrap();
    second.drain().await;
    assert_served(&first, "a", &bytes).await;
    assert_eq!((replicas.objects.multiparts(), replicas.uploads().await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_sweeps_what_a_dead_one_left() {
    let replicas = Replicas::new();
    let access = grant::<Push>("a");
    let dead = replicas.start();
    let upload = dead.start_upload(&access, Algorithm::Sha256).await.unwrap();
    dead.append(&access, upload.id, None, chunks(&content(700_000, 6))).await.unwrap();
    assert_eq!((replicas.objects.multiparts(), replicas.objects.objects().await.len()), (1, 1));
    tokio::time::sleep(Duration::from_millis(20)).await;
    let sweeper = replicas.with(Limits { upload_idle: Duration::ZERO, ..Limits::default() });
    assert_eq!(sweeper.sweep_uploads().await.unwrap().sessions, 1);
    replicas.assert_only(0).await;
    let gone = dead.append(&access, upload.id, None, chunks(b"more")).await;
    assert!(matches!(gone, Err(CoreError::UploadUnknown { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_told_and_loses_nothing() {
    let replicas = Replicas::new();
    let replica = replicas.start();
    let access = grant::<Push>("a");
    let bytes = content(800_000, 7);
    let upload = replica.start_upload(&access, Algorithm::Sha256).await.unwrap();
    replica.append(&access, upload.id, None, chunks(&bytes[..300_000])).await.unwrap();
    replicas.objects.fail(|_| true);
    let away = replica.append(&access, upload.id, None, chunks(&bytes[300_000..])).await;
    assert!(matches!(away, Err(CoreError::Unavailable { .. })), "{away:?}");
    let away = replica.push_blob(&access, chunks(&bytes), Digest::sha256(&bytes)).await;
    assert!(matches!(away, Err(CoreError::Unavailable { .. })), "{away:?}");
    replicas.objects.mend();
    assert_eq!(replica.upload_status(&access, upload.id).await.unwrap().length, 300_000);
    let rest = chunks(&bytes[300_000..]);
    replica.complete(&access, upload.id, None, rest, Digest::sha256(&bytes)).await.unwrap();
    assert_served(&replica, "a", &bytes).await;
    replicas.objects.fail(|request| request == "get");
    let blob = replica.open_blob(&grant::<Pull>("a"), &Digest::sha256(&bytes)).await.unwrap();
    let error = read(&blob.handle).await.unwrap_err();
    assert_ne!(error.kind(), std::io::ErrorKind::NotFound, "away is not missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_chunk_that_is_cut_is_sent_again() {
    let replicas = Replicas::new();
    let (first, second) = (replicas.start(), replicas.start());
    let access = grant::<Push>("a");
    let bytes = content(2_000_000, 8);
    let digest = Digest::sha256(&bytes);
    let upload = first.start_upload(&access, Algorithm::Sha256).await.unwrap();
    first.append(&access, upload.id, range(0, 49_999), chunks(&bytes[..50_000])).await.unwrap();
    let cut = first.complete(&access, upload.id, None, cut_body(&bytes[50_000..1_900_000]), digest).await;
    assert!(matches!(cut, Err(CoreError::BodyCut { .. })), "{cut:?}");
    assert_eq!(second.upload_status(&access, upload.id).await.unwrap().length, 50_000);
    second
        .complete(&access, upload.id, range(50_000, 1_999_999), chunks(&bytes[50_000..]), digest)
        .await
        .unwrap();
    second.drain().await;
    assert_served(&first, "a", &bytes).await;
    replicas.assert_only(1).await;
    assert!(second.cancel_upload(&access, UploadId::random()).await.is_err());
}
