//! What only the session itself can show: a failing sync, a stalled disk.

use bytes::Bytes;
use registry_types::Algorithm;

use super::*;
use crate::{BlobStore, BlobWriter, LocalBlobs, suite::nothing_yet};

#[tokio::test]
async fn after_a_failed_sync_the_session_is_lost_for_good() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = LocalBlobs::in_directory(folder.path().to_owned()).await.expect("opened");
    let id = UploadId::random();
    let mut writer = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("a new session");
    writer.write(Bytes::from_static(b"bytes")).await.expect("written");
    let progress = writer.checkpoint().await.expect("durable");
    let session = store.shared.live_session(id).expect("alive");
    let error = session
        .sync_blocking(&mut lock(&session.sync), || Err(io::Error::from_raw_os_error(5)))
        .expect_err("made to fail");
    assert!(matches!(error, BlobError::Io { action: "sync", .. }), "{error}");
    assert!(!session.path.exists(), "its bytes are not to be trusted");
    // The file could be synced again without an error: it must not be asked.
    assert!(writer.checkpoint().await.is_err());
    assert!(writer.write(Bytes::from_static(b"more")).await.is_err());
    assert!(writer.commit(&registry_types::Digest::sha256(b"bytes")).await.is_err());
    let error = store.resume(id, 1, &progress).await.expect_err("nothing is there");
    assert!(matches!(error, BlobError::UploadLost { .. }), "{error}");
}

#[tokio::test]
async fn what_waits_is_bounded_per_session_and_for_the_store() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = LocalBlobs::in_directory(folder.path().to_owned()).await.expect("opened");
    let (mut sessions, mut idle) = (Vec::new(), Vec::new());
    let bytes = Bytes::from(vec![7; 3 * SESSION_QUEUE]);
    let digest = registry_types::Digest::sha256(&bytes);
    for _ in 0..16 {
        let id = UploadId::random();
        idle.push(store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("a session"));
        sessions.push(store.shared.live_session(id).expect("alive"));
    }
    // No disk at all: whoever writes waits for the file's end.
    let stalled: Vec<_> = sessions.iter().map(|session| lock(&session.ingest)).collect();
    let mut writers = tokio::task::JoinSet::new();
    for mut writer in idle {
        let bytes = bytes.clone();
        writers.spawn(async move {
            writer.write(bytes).await?;
            writer.commit(&digest).await
        });
    }
    let queued = || sessions.iter().map(|session| lock(&session.queue).length).collect::<Vec<_>>();
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    let lengths = queued();
    assert!(lengths.iter().all(|&length| length <= SESSION_QUEUE), "{lengths:?}");
    let total: usize = lengths.iter().sum();
    assert_eq!(total, crate::local::STORE_QUEUE, "the room is used, and no more");
    drop(stalled);
    for size in writers.join_all().await {
        assert_eq!(size.expect("stored").size, bytes.len() as u64);
    }
}
