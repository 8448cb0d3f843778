//! What a failed, silent or lying upload leaves behind: nothing that takes room, blocks others or was not sent.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::stream;
use registry_auth::{Pull, Push};
use registry_blobs::{BlobStore, LocalBlobs};
use registry_core::{CoreError, Limits, Recovered, Registry, UploadBody};
use registry_metadata::SqliteMetadata;
use registry_types::{Algorithm, Digest, DigestHasher, UploadId};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{
    TestRegistry, body, cut_body, grant, image, manifest_push, push, range, registry, registry_with,
};

fn session_file(folder: &Path, id: UploadId) -> PathBuf {
    folder.join("uploads").join(id.to_string())
}

fn length(file: &Path) -> u64 {
    std::fs::metadata(file).unwrap().len()
}

fn session_files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("uploads")).unwrap().count()
}

/// Sends a chunk and waits until it was received: the request has its session then.
async fn send_received(sender: &mpsc::Sender<Bytes>, chunk: &'static [u8]) {
    sender.send(Bytes::from_static(chunk)).await.unwrap();
    drop(sender.reserve().await.unwrap());
}

/// A body whose client sends when the test does, and is silent until then.
pub(crate) fn sent_by_hand() -> (mpsc::Sender<Bytes>, UploadBody) {
    let (sender, receiver) = mpsc::channel(1);
    let chunks = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<Bytes>| {
        receiver.recv().await.map(|chunk| (Ok(chunk), receiver))
    });
    (sender, Box::pin(chunks))
}

/// A file system of a few MiB, unmounted when dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mounted() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        mount("tmpfs", folder.path(), "tmpfs", MountFlags::empty(), c"size=24m").ok()?;
        Some(Self { folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.folder.path(), UnmountFlags::DETACH);
    }
}

async fn opened(folder: &Path) -> TestRegistry {
    let metadata = SqliteMetadata::open(&folder.join("metadata.sqlite")).unwrap();
    let blobs = LocalBlobs::in_directory(folder.to_owned()).await.unwrap();
    Registry::new(metadata, blobs, Limits::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fills_the_disk_gives_it_back_and_stops_nobody() {
    let Some(disk) = SmallDisk::mounted() else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let folder = disk.folder.path();
    let registry = opened(folder).await;
    let config = push(&registry, "a", b"{}").await;
    let access = grant::<Push>("a");
    let huge = || {
        let piece = Bytes::from(vec![7; 1 << 20]);
        Box::pin(stream::iter((0..40).map(move |_| Ok(piece.clone())))) as UploadBody
    };
    let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
    registry.append(&access, upload.id, None, body(&[b"kept"])).await.unwrap();
    let digest = Digest::sha256(b"whatever");
    for _ in 0..2 {
        let full = registry.append(&access, upload.id, None, huge()).await;
        assert!(matches!(full, Err(CoreError::Full)), "{full:?}");
        assert_eq!(length(&session_file(folder, upload.id)), 4);
        let full = registry.complete(&access, upload.id, None, huge(), digest).await;
        assert!(matches!(full, Err(CoreError::Full)), "{full:?}");
        assert_eq!(length(&session_file(folder, upload.id)), 4);
        let full = registry.push_blob(&access, huge(), digest).await;
        assert!(matches!(full, Err(CoreError::Full)), "{full:?}");
        assert_eq!(session_files(folder), 1, "a refused push leaves its file");
    }
    push(&registry, "a", &vec![1; 1 << 20]).await;

    // Blobs have taken what they may take: rows are still written, and a session can be ended.
    std::fs::write(folder.join("ballast"), vec![0; 16 << 20]).unwrap();
    let full = registry.push_blob(&access, huge(), digest).await;
    assert!(matches!(full, Err(CoreError::Full)), "{full:?}");
    registry.push_manifest(&access, manifest_push("latest".parse().unwrap(), image(&config))).await.unwrap();
    registry.cancel_upload(&access, upload.id).await.unwrap();
    assert_eq!(session_files(folder), 0);
}

#[tokio::test]
async fn a_cut_last_chunk_takes_no_room() {
    let (registry, folder) = registry().await;
    let access = grant::<Push>("a");
    let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
    registry.append(&access, upload.id, None, body(&[b"one "])).await.unwrap();
    let cut = vec![7; 600_000];
    registry.complete(&access, upload.id, None, cut_body(&cut), Digest::sha256(b"")).await.unwrap_err();
    assert_eq!(length(&session_file(folder.path(), upload.id)), 4);
}

#[tokio::test]
async fn a_push_whose_commit_fails_leaves_no_file() {
    let (registry, folder) = registry().await;
    let digest = Digest::sha256(b"content");
    let shard: String = digest.hex().chars().take(2).collect();
    // Where the shard's folder belongs is something else.
    std::fs::write(folder.path().join("docker/registry/v2/blobs/sha256").join(shard), b"").unwrap();
    registry.push_blob(&grant("a"), body(&[b"content"]), digest).await.unwrap_err();
    assert_eq!(session_files(folder.path()), 0);
}

#[tokio::test]
async fn a_session_whose_data_cannot_be_removed_is_not_forgotten() {
    let limits = Limits { upload_idle: Duration::ZERO, ..Limits::default() };
    let (registry, _, folder) = registry_with(limits).await;
    let access = grant::<Push>("a");
    let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
    let file = session_file(folder.path(), upload.id);
    std::fs::create_dir(&file).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    registry.cancel_upload(&access, upload.id).await.unwrap_err();
    registry.sweep_uploads().await.unwrap_err();
    assert_eq!(registry.upload_status(&access, upload.id).await.unwrap().length, 0);
    std::fs::remove_dir(&file).unwrap();
    registry.cancel_upload(&access, upload.id).await.unwrap();
    assert!(registry.upload_status(&access, upload.id).await.is_err());
}

#[tokio::test]
async fn a_session_that_lost_its_data_is_over() {
    let (registry, folder) = registry().await;
    let access = grant::<Push>("a");
    for way in ["append", "complete"] {
        let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
        registry.append(&access, upload.id, None, body(&[b"lost"])).await.unwrap();
        std::fs::remove_file(session_file(folder.path(), upload.id)).unwrap();
        let lost = match way {
            "append" => registry.append(&access, upload.id, None, body(&[b"x"])).await.map(drop),
            _ => registry.complete(&access, upload.id, None, body(&[]), Digest::sha256(b"lost")).await,
        };
        assert!(matches!(lost, Err(CoreError::UploadUnknown { .. })), "{way}: {lost:?}");
        let status = registry.upload_status(&access, upload.id).await;
        assert!(matches!(status, Err(CoreError::UploadUnknown { .. })), "{way}: {status:?}");
    }
}

#[tokio::test]
async fn a_start_gives_back_what_an_earlier_run_left() {
    let (registry, blobs, folder) = registry_with(Limits::default()).await;
    let access = grant::<Push>("a");
    let mut uploads = Vec::new();
    for _ in 0..3 {
        let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
        registry.append(&access, upload.id, None, body(&[b"recorded"])).await.unwrap();
        uploads.push((upload.id, session_file(folder.path(), upload.id)));
    }
    let [(long, long_file), (short, short_file), (busy, busy_file)] = &uploads[..] else { panic!() };
    std::fs::write(long_file, b"recorded and more").unwrap();
    std::fs::write(short_file, b"rec").unwrap();
    let orphan = UploadId::random();
    std::fs::write(session_file(folder.path(), orphan), b"of a push in one request").unwrap();
    // At work in this run, with a row and without one.
    let (sender, chunks) = sent_by_hand();
    let appending = tokio::spawn({
        let (registry, access, busy) = (registry.clone(), access.clone(), *busy);
        async move { registry.append(&access, busy, None, chunks).await }
    });
    sender.send(Bytes::from(vec![7; 1 << 20])).await.unwrap();
    while length(busy_file) < 1 << 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let start = DigestHasher::new(Algorithm::Sha256).save();
    let pushing = UploadId::random();
    let _writer = blobs.resume(pushing, 0, &start.clone().into()).await.unwrap();

    let recovered = registry.recover_uploads().await.unwrap();
    assert_eq!(recovered, Recovered { removed: 1, cut: 1, lost: 1 });
    assert_eq!(length(long_file), 8);
    assert!(registry.upload_status(&access, *short).await.is_err());
    assert!(!short_file.exists() && !session_file(folder.path(), orphan).exists());
    assert!(session_file(folder.path(), pushing).exists());
    drop(sender);
    assert_eq!(appending.await.unwrap().unwrap().length, 8 + (1 << 20));
    let digest = Digest::sha256(b"recorded and done");
    registry.complete(&access, *long, range(8, 16), body(&[b" and done"]), digest).await.unwrap();
}

#[tokio::test]
async fn a_chunk_of_another_length_than_its_range_is_not_kept() {
    let (registry, folder) = registry().await;
    let access = grant::<Push>("a");
    let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
    registry.append(&access, upload.id, None, body(&[b"start"])).await.unwrap();
    // Beyond a checkpoint on the way, too.
    let huge = vec![7; 70 << 20];
    let bodies: [(u64, &[&[u8]]); 4] =
        [(9, &[b"123456"]), (9, &[b"12345", b"6"]), (9, &[b"1234"]), (5 + (80 << 20), &[&huge])];
    for (last, chunks) in bodies {
        let refused = registry.append(&access, upload.id, range(5, last), body(chunks)).await;
        assert!(matches!(refused, Err(CoreError::WrongLength)), "{refused:?}");
        let digest = Digest::sha256(b"whatever");
        if last == 9 {
            let refused = registry.complete(&access, upload.id, range(5, last), body(chunks), digest).await;
            assert!(matches!(refused, Err(CoreError::WrongLength)), "{refused:?}");
        }
        assert_eq!(registry.upload_status(&access, upload.id).await.unwrap().length, 5);
        assert_eq!(length(&session_file(folder.path(), upload.id)), 5);
    }
    let digest = Digest::sha256(b"start12345");
    registry.append(&access, upload.id, range(5, 9), body(&[b"123", b"45"])).await.unwrap();
    // An empty chunk has no first and last byte.
    registry.complete(&access, upload.id, range(10, 10), body(&[]), digest).await.unwrap();
    registry.open_blob(&grant::<Pull>("a"), &digest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_back_goes_on_though_its_old_request_hangs() {
    for way in ["append", "complete", "cancel"] {
        let (registry, folder) = registry().await;
        let access = grant::<Push>("a");
        let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
        let (sender, chunks) = sent_by_hand();
        let old = tokio::spawn({
            let (registry, access) = (registry.clone(), access.clone());
            async move {
                match way {
                    "complete" => {
                        registry.complete(&access, upload.id, None, chunks, Digest::sha256(b"")).await
                    }
                    _ => registry.append(&access, upload.id, None, chunks).await.map(drop),
                }
            }
        });
        send_received(&sender, b"old").await;
        let begin = Instant::now();
        assert_eq!(registry.upload_status(&access, upload.id).await.unwrap().length, 0);
        assert!(begin.elapsed() < Duration::from_millis(500), "a status waits for nobody");
        match way {
            "cancel" => registry.cancel_upload(&access, upload.id).await.unwrap(),
            // A last chunk that is cut is sent again from its start.
            "complete" => {
                let digest = Digest::sha256(b"new");
                registry.complete(&access, upload.id, range(0, 2), body(&[b"new"]), digest).await.unwrap();
            }
            // What arrived of an earlier one counts, and the client is told.
            _ => {
                let wrong = registry.append(&access, upload.id, range(0, 2), body(&[b"new"])).await;
                assert!(matches!(wrong, Err(CoreError::WrongOffset { length: 3, .. })), "{wrong:?}");
                registry.append(&access, upload.id, range(3, 5), body(&[b"new"])).await.unwrap();
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "{way} waited {:?}", begin.elapsed());
        let old = old.await.unwrap();
        assert!(matches!(old, Err(CoreError::BodyCut { .. })), "{way}: {old:?}");
        assert_eq!(session_files(folder.path()), usize::from(way == "append"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_still_sends_keeps_its_session() {
    let (registry, _folder) = registry().await;
    let access = grant::<Push>("a");
    let upload = registry.start_upload(&access, Algorithm::Sha256).await.unwrap();
    let (sender, chunks) = sent_by_hand();
    let first = tokio::spawn({
        let (registry, access) = (registry.clone(), access.clone());
        async move { registry.append(&access, upload.id, None, chunks).await }
    });
    send_received(&sender, b"0").await;
    let second = tokio::spawn({
        let (registry, access) = (registry.clone(), access.clone());
        async move { registry.append(&access, upload.id, range(1, 1), body(&[b"x"])).await }
    });
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        sender.send(Bytes::from_static(b"0")).await.unwrap();
        assert!(!second.is_finished(), "two requests write to one session");
    }
    drop(sender);
    assert_eq!(first.await.unwrap().unwrap().length, 11);
    let second = second.await.unwrap();
    assert!(matches!(second, Err(CoreError::WrongOffset { length: 11, .. })), "{second:?}");
}
