//! Blobs that come through a mirror: fetched once, given while they come, verified before they count.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, future::join_all};
use registry_auth::{Delete, Pull, Push};
use registry_blobs::{BlobSource, BlobStream};
use registry_core::{BlobContent, BlobFeed, CoreError, Limits, PulledBlob, UpstreamError};
use registry_types::{Algorithm, Digest};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::{
    TestRegistry, body,
    fake_upstream::{Asked, Fake, away, mirrors},
    grant, image, manifest_push, push, registry_with,
};

const REPOSITORY: &str = "mirror/app";
/// Longer than the bytes that a download keeps for readers, so that slow ones read what was stored.
const SIZE: usize = 5 << 20;
/// How long an upstream that was away is left alone.
const PAUSE: Duration = Duration::from_millis(3100);

pub(crate) async fn mirror(upstream: &Fake) -> (TestRegistry, TempDir) {
    mirror_with(upstream, Limits::default()).await
}

async fn mirror_with(upstream: &Fake, limits: Limits) -> (TestRegistry, TempDir) {
    let (registry, _, folder) = registry_with(limits).await;
    (registry.with_mirrors(mirrors(upstream, Duration::from_secs(60))), folder)
}

pub(crate) fn content(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(byte).collect()
}

async fn pull(registry: &TestRegistry, digest: &Digest) -> Result<PulledBlob, CoreError> {
    registry.pull_blob(&grant::<Pull>(REPOSITORY), digest).await
}

async fn coming(registry: &TestRegistry, digest: &Digest) -> BlobFeed {
    match pull(registry, digest).await.unwrap() {
        PulledBlob::Coming(feed) => feed,
        PulledBlob::Stored(_) => panic!("it is stored already"),
    }
}

/// What a reader got, and whether it ended well.
async fn read(mut bytes: BlobStream) -> (Vec<u8>, bool) {
    let mut got = Vec::new();
    while let Some(piece) = bytes.next().await {
        match piece {
            Ok(piece) => got.extend_from_slice(&piece),
            Err(_) => return (got, false),
        }
    }
    (got, true)
}

pub(crate) fn read_stored(stored: &BlobContent, buffer: &mut [u8], offset: u64) {
    let BlobSource::File(file) = &stored.handle.content else { panic!("the store is local") };
    std::os::unix::fs::FileExt::read_exact_at(&**file, buffer, offset).unwrap();
}

async fn whole(registry: &TestRegistry, digest: &Digest) -> (Vec<u8>, bool) {
    match pull(registry, digest).await.unwrap() {
        PulledBlob::Coming(feed) => {
            let size = feed.size;
            read(feed.bytes(0, size)).await
        }
        PulledBlob::Stored(stored) => {
            let mut got = vec![0; stored.handle.size as usize];
            read_stored(&stored, &mut got, 0);
            (got, true)
        }
    }
}

async fn is_stored(registry: &TestRegistry, digest: &Digest) -> bool {
    registry.open_blob(&grant::<Pull>(REPOSITORY), digest).await.is_ok()
}

async fn wait_until_stored(registry: &TestRegistry, digest: &Digest) {
    let stored = async {
        while !is_stored(registry, digest).await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), stored).await.expect("it is not stored");
}

fn session_files(folder: &TempDir) -> usize {
    std::fs::read_dir(folder.path().join("uploads")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_are_served_by_one_download() {
    let upstream = Fake::new();
    let (registry, folder) = mirror(&upstream).await;
    let content = content(SIZE, 1);
    let digest = upstream.add_blob(content.clone());
    for (got, well) in join_all((0..16).map(|_| whole(&registry, &digest))).await {
        assert!(well && got == content);
    }
    wait_until_stored(&registry, &digest).await;
    let (got, _) = whole(&registry, &digest).await;
    assert!(got == content);
    assert_eq!(upstream.asked(), [Asked::Blob(0)]);
    registry.drain().await;
    assert_eq!(session_files(&folder), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_and_empty_blobs_come_whole() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    for content in ["", "{}"] {
        let digest = upstream.add_blob(content);
        assert_eq!(registry.pull_blob_size(&grant(REPOSITORY), &digest).await.unwrap(), content.len() as u64);
        let PulledBlob::Stored(stored) = pull(&registry, &digest).await.unwrap() else { panic!("small") };
        assert_eq!(stored.handle.size, content.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_holds_up_nobody_and_gets_everything_later() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    let content = content(SIZE, 2);
    let digest = upstream.add_blob(content.clone());
    let slow = coming(&registry, &digest).await.bytes(0, SIZE as u64);
    let (got, well) = timeout(Duration::from_secs(20), whole(&registry, &digest)).await.unwrap();
    assert!(well && got == content);
    wait_until_stored(&registry, &digest).await;
    let (got, well) = read(slow).await;
    assert!(well && got == content);
    assert_eq!(upstream.offsets(), [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_late_gets_what_is_there_at_once() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    let content = content(SIZE, 3);
    let digest = upstream.add_blob(content.clone());
    let pieces = SIZE / upstream.state().piece - 2;
    upstream.hold_back(pieces);
    let there = pieces * upstream.state().piece;
    let mut first = coming(&registry, &digest).await.bytes(0, SIZE as u64);
    let mut got = Vec::new();
    while got.len() < there {
        got.extend_from_slice(&first.next().await.unwrap().unwrap());
    }
    // The first bytes are long out of memory now; nothing more comes from upstream.
    let mut late = coming(&registry, &digest).await.bytes(0, SIZE as u64);
    let mut late_got = Vec::new();
    let reading = async {
        while late_got.len() < there {
            late_got.extend_from_slice(&late.next().await.unwrap().unwrap());
        }
    };
    timeout(Duration::from_secs(10), reading).await.expect("it waits for the end");
    // A range too, but for its last byte: nobody knows yet whether the blob is right.
    let mut range = coming(&registry, &digest).await.bytes(7, 5);
    assert_eq!(range.next().await.unwrap().unwrap(), content[7..11]);
    timeout(Duration::from_millis(100), range.next())
        .await
        .expect_err("it ended before the blob was verified");
    upstream.release();
    assert_eq!(range.next().await.unwrap().unwrap(), content[11..12]);
    assert!(range.next().await.is_none());
    for (bytes, mut got) in [(first, got), (late, late_got)] {
        let (rest, well) = read(bytes).await;
        got.extend(rest);
        assert!(well && got == content);
    }
    assert_eq!(upstream.offsets(), [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_when_its_clients_are_gone() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    let digest = upstream.add_blob(content(SIZE, 4));
    upstream.hold_back(3);
    drop(coming(&registry, &digest).await);
    upstream.release();
    wait_until_stored(&registry, &digest).await;
    assert_eq!(upstream.offsets(), [0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_download_goes_on_with_a_range() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    let content = content(SIZE, 5);
    let digest = upstream.add_blob(content.clone());
    upstream.state().cuts = vec![1_000_000, 500_000];
    let (got, well) = whole(&registry, &digest).await;
    assert!(well && got == content);
    assert_eq!(upstream.offsets(), [0, 1_000_000, 1_500_000]);
    wait_until_stored(&registry, &digest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_dies_leaves_nothing_half_and_the_next_request_goes_on() {
    let upstream = Fake::new();
    let (registry, folder) = mirror(&upstream).await;
    let content = content(SIZE, 6);
    let digest = upstream.add_blob(content.clone());
    upstream.state().cuts = vec![2_000_000, 0, 0, 0];
    let (got, well) = whole(&registry, &digest).await;
    assert!(!well && got == content[..got.len()] && got.len() <= 2_000_000);
    assert!(!is_stored(&registry, &digest).await);
    upstream.state().error = Some(away());
    let again = pull(&registry, &digest).await;
    let Err(CoreError::Upstream(failure)) = again else { panic!("{again:?}") };
    assert_eq!(failure.error, away());
    assert_eq!(session_files(&folder), 1);

    upstream.state().error = None;
    sleep(PAUSE).await;
    let (got, well) = whole(&registry, &digest).await;
    assert!(well && got == content);
    assert_eq!(upstream.offsets(), [0, 2_000_000, 2_000_000, 2_000_000, 2_000_000, 2_000_000]);
    wait_until_stored(&registry, &digest).await;
    registry.drain().await;
    assert_eq!(session_files(&folder), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_its_digest_says_ends_with_an_error_and_is_not_kept() {
    let upstream = Fake::new();
    let (registry, folder) = mirror(&upstream).await;
    let digest = upstream.add_blob(content(SIZE, 7));
    let mut wrong = content(SIZE, 7).to_vec();
    wrong[SIZE / 2] ^= 1;
    upstream.lie(digest, wrong);
    for (got, well) in join_all((0..4).map(|_| whole(&registry, &digest))).await {
        assert!(!well && got.len() < SIZE, "a wrong blob ended well");
    }
    assert!(!is_stored(&registry, &digest).await);
    let small = upstream.add_blob("right");
    upstream.lie(small, "wrong");
    let refused = pull(&registry, &small).await;
    assert!(
        matches!(&refused, Err(CoreError::Upstream(failure)) if matches!(failure.error, UpstreamError::Unusable { .. })),
        "{refused:?}"
    );
    registry.drain().await;
    assert_eq!(session_files(&folder), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_repository_has_is_linked_if_the_upstream_has_it_too() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    let digest = push(&registry, "private", b"a secret layer").await;
    let refused = pull(&registry, &digest).await;
    assert!(matches!(refused, Err(CoreError::BlobUnknown { .. })), "a digest alone gave content");
    let public = push(&registry, "own", b"a public layer").await;
    upstream.add_blob("a public layer");
    let (got, _) = whole(&registry, &public).await;
    assert_eq!(got, b"a public layer");
    assert_eq!(upstream.offsets(), [0], "only what is nowhere here may be fetched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_upstream_has_not_is_not_asked_for_again_at_once() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    let digest = Digest::sha256(b"nowhere");
    for _ in 0..3 {
        assert!(matches!(pull(&registry, &digest).await, Err(CoreError::BlobUnknown { .. })));
        let size = registry.pull_blob_size(&grant(REPOSITORY), &digest).await;
        assert!(matches!(size, Err(CoreError::BlobUnknown { .. })));
    }
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_download_and_keeps_what_came() {
    let upstream = Fake::new();
    let (registry, folder) = mirror(&upstream).await;
    let digest = upstream.add_blob(content(SIZE, 8));
    upstream.hold_back(10);
    let mut reading = coming(&registry, &digest).await.bytes(0, SIZE as u64);
    reading.next().await.unwrap().unwrap();
    timeout(Duration::from_secs(10), registry.drain()).await.expect("the download does not end");
    let (_, well) = read(reading).await;
    assert!(!well);
    assert_eq!(session_files(&folder), 1);
}

#[tokio::test]
async fn nothing_can_be_pushed_into_a_mirror() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream).await;
    let digest = push(&registry, "own", b"layer").await;
    let to = grant::<Push>(REPOSITORY);
    let is_refused = |error: Option<CoreError>| matches!(error, Some(CoreError::Mirrored { .. }));
    assert!(is_refused(registry.start_upload(&to, Algorithm::Sha256).await.err()));
    assert!(is_refused(registry.push_blob(&to, body(&[b"layer"]), digest).await.err()));
    assert!(is_refused(registry.mount(&to, Some(&grant("own")), None, &digest).await.err()));
    let manifest = manifest_push("v1".parse().unwrap(), image(&digest));
    let refused = registry.push_manifest(&to, manifest).await.err();
    let message = refused.as_ref().map(ToString::to_string).unwrap_or_default();
    assert!(message.contains("upstream.test") && is_refused(refused), "{message}");
    assert_eq!(upstream.asked(), []);
    // What is cached may be thrown away.
    let small = upstream.add_blob("{}");
    pull(&registry, &small).await.unwrap();
    registry.delete_blob(&grant::<Delete>(REPOSITORY), &small).await.unwrap();
}

#[tokio::test]
async fn limits_hold_for_what_comes_from_upstream_too() {
    let upstream = Fake::new();
    let digest = upstream.add_blob(content(SIZE, 9));
    let limits = Limits { layer_bytes: Some(1000), ..Limits::default() };
    let (registry, folder) = mirror_with(&upstream, limits).await;
    let refused = pull(&registry, &digest).await;
    assert!(matches!(refused, Err(CoreError::BlobTooLong { limit: 1000 })), "{refused:?}");
    registry.drain().await;
    assert_eq!(session_files(&folder), 0);

    let asked = upstream.asked().len();
    let limits = Limits { read_only: true, ..Limits::default() };
    let (registry, _folder) = mirror_with(&upstream, limits).await;
    assert!(matches!(pull(&registry, &digest).await, Err(CoreError::BlobUnknown { .. })));
    assert_eq!(upstream.asked().len(), asked, "nothing can be stored, so nothing is fetched");
}
