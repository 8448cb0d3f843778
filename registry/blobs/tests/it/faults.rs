//! A real S3 server over a network that fails: uploads and reads survive or fail with a clear error, nothing that
//! was acknowledged is lost, and memory stays bounded.

use std::time::{Duration, Instant};

use bytes::Bytes;
use registry_blobs::{
    BlobError, BlobStore, BlobWriter, ObjectBlobs,
    suite::{self, assert_stored, commit, content, nothing_yet},
};
use registry_types::{Algorithm, UploadId};

use crate::{
    fault_proxy::{FaultProxy, Faults},
    s3::{open, options, replica, server},
    s3_server::S3Server,
};

/// A client gets its answer within this time whatever the store does.
const PATIENCE: Duration = Duration::from_secs(60);

async fn behind_proxy() -> Option<(S3Server, FaultProxy, ObjectBlobs)> {
    let server = server()?;
    let proxy = FaultProxy::start(server.address()).expect("a proxy");
    let store = replica(proxy.address()).await;
    Some((server, proxy, store))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_goes_on_where_it_was_cut() {
    let Some((_server, proxy, store)) = behind_proxy().await else { return };
    let bytes = content(20 << 20, 1);
    let stored = suite::store(&store, &bytes, 1 << 20).await.expect("stored");
    for reset in [false, true] {
        proxy.set(Faults { cut_answers_after: Some(3_000_000), cuts: Some(4), reset, ..Faults::default() });
        proxy.cut_all();
        assert_stored(&store, &stored, &bytes).await;
        assert_eq!(proxy.cut(), 4, "the reads were to be cut");
        let blob = open(&store, &stored).await;
        proxy.set(Faults { cut_answers_after: Some(1_000_000), cuts: Some(1), reset, ..Faults::default() });
        proxy.cut_all();
        let part = suite::read_range(&blob, 5_000_000, 7_000_000).await.expect("readable");
        assert!(part == bytes[5_000_000..12_000_000]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_cannot_go_on_ends_with_an_error() {
    let Some((_server, proxy, store)) = behind_proxy().await else { return };
    let bytes = content(4 << 20, 2);
    let stored = suite::store(&store, &bytes, 1 << 20).await.expect("stored");
    let blob = open(&store, &stored).await;
    proxy.set(Faults { cut_answers_after: Some(100_000), ..Faults::default() });
    proxy.cut_all();
    let started = Instant::now();
    suite::read(&blob).await.expect_err("not a short blob");
    proxy.set(Faults { refuse: true, ..Faults::default() });
    proxy.cut_all();
    let error = suite::read(&blob).await.expect_err("nothing answers");
    assert_ne!(error.kind(), std::io::ErrorKind::NotFound, "away is not missing: {error}");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert!(matches!(store.ping().await, Err(BlobError::Unavailable { .. })));
    proxy.set(Faults::default());
    assert_stored(&store, &stored, &bytes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_store_is_not_waited_for_for_ever() {
    let Some((_server, proxy, store)) = behind_proxy().await else { return };
    let bytes = content(20 << 20, 3);
    let stored = suite::store(&store, &bytes, 1 << 20).await.expect("stored");
    let blob = open(&store, &stored).await;
    proxy.set(Faults { delay: Duration::from_millis(2), ..Faults::default() });
    let read = tokio::spawn(async move { suite::read(&blob).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!read.is_finished(), "the read is to be in its middle");
    proxy.set(Faults { silent: true, ..Faults::default() });
    tokio::time::sleep(Duration::from_secs(17)).await;
    proxy.set(Faults::default());
    assert!(read.await.expect("no panic").expect("readable") == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_survives_cut_connections() {
    let Some((server, proxy, store)) = behind_proxy().await else { return };
    let bytes = content(40 << 20, 4);
    for (reset, cut) in [(true, 4_000_000), (false, 5_000_000), (true, 100)] {
        proxy.set(Faults { cut_requests_after: Some(cut), cuts: Some(3), reset, ..Faults::default() });
        proxy.cut_all();
        let stored = suite::store(&store, &bytes, 1 << 20).await.expect("stored");
        assert_eq!(proxy.cut(), 3, "the requests were to be cut");
        proxy.set(Faults::default());
        assert_stored(&store, &stored, &bytes).await;
        store.remove(&stored.digest, &stored.location).await.expect("removed");
    }
    // Answers that are lost: what they acknowledge is done or done again.
    for cut in [1, 200] {
        proxy.set(Faults { cut_answers_after: Some(cut), cuts: Some(2), ..Faults::default() });
        proxy.cut_all();
        let stored = suite::store(&store, &bytes, 1 << 20).await.expect("stored");
        proxy.set(Faults::default());
        assert_stored(&store, &stored, &bytes).await;
        store.remove(&stored.digest, &stored.location).await.expect("removed");
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recorded_bytes_outlive_the_store_and_the_replica() {
    let Some((mut server, proxy, store)) = behind_proxy().await else { return };
    let bytes = Bytes::from(content(44 << 20, 5));
    let id = UploadId::random();
    let mut session = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
    session.write(bytes.slice(..21_000_000)).await.expect("written");
    let progress = session.checkpoint().await.expect("durable");
    server.kill();
    proxy.cut_all();
    let started = Instant::now();
    let away = async {
        session.write(bytes.slice(21_000_000..)).await?;
        session.leave().await
    };
    let away = away.await.expect_err("nothing is there");
    assert!(matches!(away, BlobError::Unavailable { .. }), "{away}");
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    server.start_again().expect("it starts again");
    let other = replica(server.address()).await;
    let mut session = other.resume(id, 2, &progress).await.expect("another replica goes on");
    session.write(bytes.slice(progress.length() as usize..)).await.expect("written");
    let stored = commit(&other, session, &bytes).await.expect("committed");
    assert_stored(&store, &stored, &bytes).await;
    assert_eq!(store.bytes_in_flight().0, 0, "room was lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_does_not_fill_the_memory() {
    let Some(server) = server() else { return };
    let proxy = FaultProxy::start(server.address()).expect("a proxy");
    let mut options = options(proxy.address());
    options.memory = 32 << 20;
    let store = ObjectBlobs::connect(&options).await.expect("connected");
    proxy.set(Faults { delay: Duration::from_micros(200), ..Faults::default() });
    let mut uploads = tokio::task::JoinSet::new();
    for seed in 0..12 {
        let store = store.clone();
        uploads.spawn(async move {
            let bytes = content(12 << 20, 100 + seed);
            (suite::store(&store, &bytes, 300_000).await.expect("stored"), bytes)
        });
    }
    let uploaded = uploads.join_all().await;
    proxy.set(Faults::default());
    for (stored, bytes) in uploaded {
        assert_stored(&store, &stored, &bytes).await;
    }
    let (now, peak) = store.bytes_in_flight();
    assert_eq!(now, 0);
    assert!((16 << 20..=32 << 20).contains(&peak), "the room is used, and no more: {peak}");
}
