//! What an object store has to do, on one in memory: with short parts, so that small uploads have many.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use object_store::path::Path;
use proptest::prelude::*;
use registry_types::{Algorithm, BlobLocation, Digest, UploadId};

use super::{MemoryStore, ObjectBlobs, PartPlan, Remote, numbered::CompleteNumbered};
use crate::{
    BlobError, BlobStore, BlobWriter,
    suite::{self, assert_stored, commit, content, nothing_yet},
};

/// Lengths of parts in these tests: least and usual.
const PARTS: (usize, usize) = (50_000, 100_000);

/// Parts that a writer may begin without a record.
const UNRECORDED: usize = 300;

/// Memory for uploads in these tests.
const MEMORY: usize = 4 << 20;

/// A replica on a store.
fn replica_with(memory: &Arc<MemoryStore>, room: usize) -> ObjectBlobs {
    let numbered = Arc::clone(memory) as Arc<dyn CompleteNumbered>;
    let remote = Remote::new(Arc::clone(memory), Some(numbered), None, Path::from("a folder/below"));
    ObjectBlobs::with(remote, PartPlan::short(PARTS.0, PARTS.1, UNRECORDED), room)
}

fn replica(memory: &Arc<MemoryStore>) -> ObjectBlobs {
    replica_with(memory, MEMORY)
}

fn piece(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_store_has_every_property() {
    let memory = Arc::new(MemoryStore::default());
    suite::every_property(async || replica(&memory)).await;
    assert!(replica(&memory).bytes_in_flight().0 == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_parts_only_have_every_property_too() {
    let memory = Arc::new(MemoryStore::default());
    let remote = Remote::new(Arc::clone(&memory), None, None, Path::default());
    let store = ObjectBlobs::with(remote, PartPlan::within(0), 64 << 20);
    suite::every_property(async || store.clone()).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_blob_but_its_object() {
    let memory = Arc::new(MemoryStore::default());
    let blobs = replica(&memory);
    let bytes = content(1 << 20, 1);
    let id = UploadId::random();
    let mut progress = nothing_yet(Algorithm::Sha256);
    // Requests that end at odd places: tails, and parts that take them in.
    for (claim, cut) in
        (1..).zip([(0, 10), (10, 30_000), (30_000, 30_001), (30_001, 420_000), (420_000, 1 << 20)])
    {
        let mut writer =
            replica(&memory).resume(id, claim, &progress).await.expect("another replica goes on");
        writer.write(piece(&bytes[cut.0..cut.1])).await.expect("written");
        progress = writer.leave().await.expect("durable");
        assert_eq!(progress.length(), cut.1 as u64);
    }
    let writer = blobs.resume(id, 6, &progress).await.expect("goes on");
    let stored = commit(&blobs, writer, &bytes).await.expect("committed");
    assert_stored(&blobs, &stored, &bytes).await;
    assert_eq!((memory.objects().await.len(), memory.multiparts()), (1, 0));
    assert!(memory.objects().await[0].starts_with("a folder/below/blobs/"), "{:?}", memory.objects().await);
    blobs.remove(&stored.digest, &stored.location).await.expect("removed");
    assert_eq!(memory.objects().await.len(), 0);
}

#[tokio::test]
async fn a_small_blob_is_stored_once() {
    let memory = Arc::new(MemoryStore::default());
    let puts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    memory.fail({
        let puts = Arc::clone(&puts);
        move |request| {
            assert_ne!(request, "create", "a small blob has no parts");
            puts.fetch_add(usize::from(request == "put"), std::sync::atomic::Ordering::Relaxed);
            false
        }
    });
    // Docker's way: one request with the bytes, another that ends the session.
    let id = UploadId::random();
    let bytes = content(70_000, 2);
    let mut writer = replica(&memory).resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
    writer.write(piece(&bytes)).await.expect("written");
    let progress = writer.checkpoint().await.expect("durable");
    let blobs = replica(&memory);
    let writer = blobs.resume(id, 1, &progress).await.expect("another replica ends it");
    let stored = commit(&blobs, writer, &bytes).await.expect("committed");
    assert_stored(&blobs, &stored, &bytes).await;
    assert_eq!(puts.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    let memory = Arc::new(MemoryStore::default());
    for recorded in [true, false] {
        let id = UploadId::random();
        let blobs = replica(&memory);
        let mut writer = blobs.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
        writer.write(piece(&content(430_000, 3))).await.expect("written");
        let progress = writer.checkpoint().await.expect("durable");
        assert!(memory.multiparts() == 1 && memory.objects().await.len() == 1);
        if recorded {
            // Another replica sweeps.
            replica(&memory).abort(id, Some(&progress)).await.expect("aborted");
        } else {
            blobs.abort(id, None).await.expect("aborted");
        }
        assert_eq!((memory.multiparts(), memory.objects().await.len()), (0, 0), "{recorded}");
        let late = writer.commit(&Digest::sha256(&content(430_000, 3))).await;
        assert!(matches!(late, Err(BlobError::UploadLost { .. })), "{late:?}");
    }
}

#[tokio::test]
async fn a_wrong_digest_is_found_before_the_object_is_made() {
    let memory = Arc::new(MemoryStore::default());
    memory.fail(|request| {
        assert_ne!(request, "complete", "the digest was not compared first");
        false
    });
    let blobs = replica(&memory);
    let mut writer = blobs.resume(UploadId::random(), 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
    writer.write(piece(&content(430_000, 4))).await.expect("written");
    let refused = writer.commit(&Digest::sha256(b"other")).await;
    assert!(matches!(refused, Err(BlobError::DigestMismatch { .. })), "{refused:?}");
    assert_eq!((memory.multiparts(), memory.objects().await.len()), (0, 0));
}

#[tokio::test]
async fn a_multipart_upload_asks_to_be_recorded() {
    let memory = Arc::new(MemoryStore::default());
    let blobs = replica(&memory);
    let mut writer = blobs.resume(UploadId::random(), 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
    writer.write(piece(&content(90_000, 5))).await.expect("written");
    assert!(!writer.wants_record());
    for _ in 0..20 {
        writer.write(piece(&content(90_000, 5))).await.expect("written");
        tokio::task::yield_now().await;
    }
    assert!(writer.wants_record(), "a crash now would leave a multipart upload that nobody knows");
    let progress = writer.checkpoint_on_the_way().await.expect("an answer");
    assert!(!writer.wants_record());
    drop(writer);
    replica(&memory).abort(UploadId::random(), Some(&progress)).await.expect("aborted");
    assert_eq!(memory.multiparts(), 0);
}

#[tokio::test]
async fn a_failed_request_leaves_no_multipart_upload() {
    let memory = Arc::new(MemoryStore::default());
    let blobs = replica(&memory);
    let id = UploadId::random();
    let start = nothing_yet(Algorithm::Sha256);
    let mut writer = blobs.resume(id, 1, &start).await.expect("new");
    writer.write(piece(&content(230_000, 13))).await.expect("written");
    // It began a multipart upload, and its request fails before a record names that.
    writer.checkpoint().await.expect("durable");
    assert_eq!(memory.multiparts(), 1);
    drop(writer);
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(blobs.resume(id, 1, &start).await.expect("back to its record"));
    assert_eq!(memory.multiparts(), 0);
}

/// The process, or the connection, ends behind the request that makes the object.
#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_made_good() {
    for (request, length) in [("complete", 430_000), ("put", 20_000)] {
        let memory = Arc::new(MemoryStore::default());
        let blobs = replica(&memory);
        let bytes = content(length, 6);
        let id = UploadId::random();
        let mut writer = blobs.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
        writer.write(piece(&bytes[..10_000])).await.expect("written");
        writer.checkpoint().await.expect("durable");
        writer.write(piece(&bytes[10_000..])).await.expect("written");
        let progress = writer.checkpoint().await.expect("durable");
        memory.lose_answers_of(request);
        let first = writer.commit(&Digest::sha256(&bytes)).await;
        memory.mend();
        if let Err(error) = &first {
            assert!(matches!(error, BlobError::Unavailable { .. }), "{error}");
        }
        let blobs = replica(&memory);
        let writer = blobs.resume(id, 1, &progress).await.expect("goes on");
        let stored = commit(&blobs, writer, &bytes).await.expect("committed again");
        assert_stored(&blobs, &stored, &bytes).await;
        assert_eq!(memory.multiparts(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_told_and_costs_no_recorded_byte() {
    let memory = Arc::new(MemoryStore::default());
    let blobs = replica(&memory);
    let bytes = content(700_000, 7);
    let id = UploadId::random();
    let mut writer = blobs.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
    writer.write(piece(&bytes[..330_000])).await.expect("written");
    let progress = writer.checkpoint().await.expect("durable");
    memory.fail(|_| true);
    writer.write(piece(&bytes[330_000..])).await.expect("taken in");
    let away = writer.checkpoint().await;
    assert!(
        matches!(&away, Err(BlobError::Unavailable { reason }) if reason.contains("made to fail")),
        "{away:?}"
    );
    let error = writer.write(piece(b"more")).await.expect_err("the session takes no more");
    assert!(matches!(error, BlobError::Unavailable { .. }), "{error}");
    assert!(matches!(blobs.ping().await, Err(BlobError::Unavailable { .. })));
    drop(writer);
    memory.mend();
    let mut writer = blobs.resume(id, 1, &progress).await.expect("goes on");
    writer.write(piece(&bytes[330_000..])).await.expect("written");
    let stored = commit(&blobs, writer, &bytes).await.expect("committed");
    assert_stored(&blobs, &stored, &bytes).await;
    assert_eq!(blobs.bytes_in_flight().0, 0, "room was lost");
}

/// Two replicas that both believe the session is theirs. Whoever records last wins; nothing is mixed.
#[tokio::test]
async fn late_requests_of_another_replica_change_nothing() {
    let memory = Arc::new(MemoryStore::default());
    let (first, second) = (replica(&memory), replica(&memory));
    let id = UploadId::random();
    let bytes = content(240_000, 8);
    let mut old = first.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
    old.write(piece(&bytes[..110_000])).await.expect("written");
    let progress = old.checkpoint().await.expect("durable");
    let mut new = second.resume(id, 2, &progress).await.expect("taken over");
    old.write(piece(&content(20_000, 9))).await.expect("written");
    new.write(piece(&bytes[110_000..130_000])).await.expect("written");
    let progress = new.checkpoint().await.expect("durable");
    // The old one writes its tail after the new one.
    old.checkpoint().await.expect("durable, and nobody records it");
    let mut new = second.resume(id, 3, &progress).await.expect("goes on");
    new.write(piece(&bytes[130_000..])).await.expect("written");
    let stored = commit(&second, new, &bytes).await.expect("committed");
    assert_stored(&second, &stored, &bytes).await;
    let late = old.commit(&Digest::sha256(&[&bytes[..110_000], &content(20_000, 9)].concat())).await;
    assert!(matches!(late, Err(BlobError::UploadLost { .. })), "{late:?}");
    assert_stored(&second, &stored, &bytes).await;
}

#[tokio::test(start_paused = true)]
async fn slow_uploads_give_their_room_to_fast_ones() {
    let memory = Arc::new(MemoryStore::default());
    let room = 300_000;
    let blobs = replica_with(&memory, room);
    let mut slow = Vec::new();
    for seed in 0..10 {
        let bytes = content(30_000, 100 + seed);
        let mut writer =
            blobs.resume(UploadId::random(), 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
        writer.write(piece(&bytes)).await.expect("written");
        slow.push((writer, bytes));
    }
    let bytes = content(2_000_000, 10);
    let fast = suite::store(&blobs, &bytes, 20_000);
    let stored =
        tokio::time::timeout(Duration::from_secs(60), fast).await.expect("it got room").expect("stored");
    assert_stored(&blobs, &stored, &bytes).await;
    let (_, peak) = blobs.bytes_in_flight();
    assert!(peak <= room, "{peak}");
    for (mut writer, mut bytes) in slow {
        bytes.extend(content(30_000, 11));
        writer.write(piece(&bytes[30_000..])).await.expect("written");
        let stored = commit(&blobs, writer, &bytes).await.expect("committed");
        assert_stored(&blobs, &stored, &bytes).await;
    }
    assert_eq!(blobs.bytes_in_flight().0, 0);
}

#[tokio::test]
async fn a_missing_or_changed_object_is_not_served() {
    let memory = Arc::new(MemoryStore::default());
    let blobs = replica(&memory);
    let bytes = content(200_000, 12);
    let stored = suite::store(&blobs, &bytes, 20_000).await.expect("stored");
    let longer = blobs.open(&stored.digest, &stored.location, stored.size + 1).await.expect("answers");
    let error = suite::read(&longer.expect("there")).await.expect_err("the length is not that of the record");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    let elsewhere = blobs.open(&stored.digest, &BlobLocation::ByDigest, stored.size).await.expect("answers");
    assert!(elsewhere.is_none());
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Checkpoint {
        whole: bool,
    },
    /// Another replica goes on from the record.
    Move,
    /// The object store fails every request for a while.
    Outage(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1_usize..150_000).prop_map(Step::Write),
        4 => (1_usize..3_000).prop_map(Step::Write),
        5 => any::<bool>().prop_map(|whole| Step::Checkpoint { whole }),
        3 => Just(Step::Move),
        1 => (1_usize..150_000).prop_map(Step::Outage),
    ];
    proptest::collection::vec(step, 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens between, a client that goes on from what was recorded gets its blob.
    #[test]
    fn recorded_bytes_are_never_lost(steps in steps(), seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let memory = Arc::new(MemoryStore::default());
            let bytes = content(6 << 20, seed);
            let id = UploadId::random();
            let mut record = nothing_yet(Algorithm::Sha256);
            let mut blobs = replica(&memory);
            let mut claim = 1;
            let mut writer = blobs.resume(id, claim, &record).await.expect("new");
            let mut sent = 0;
            for step in steps {
                match step {
                    Step::Write(length) => {
                        let end = (sent + length).min(bytes.len());
                        writer.write(piece(&bytes[sent..end])).await.expect("written");
                        sent = end;
                    }
                    Step::Checkpoint { whole } => {
                        let progress = if whole {
                            writer.checkpoint().await.expect("durable")
                        } else {
                            writer.checkpoint_on_the_way().await.expect("durable")
                        };
                        assert!(progress.length() >= record.length() && progress.length() <= sent as u64);
                        assert!(!whole || progress.length() == sent as u64);
                        record = progress;
                    }
                    Step::Move | Step::Outage(_) => {
                        if let Step::Outage(length) = step {
                            memory.fail(|_| true);
                            let end = (sent + length).min(bytes.len());
                            if writer.write(piece(&bytes[sent..end])).await.is_ok() {
                                let _ = writer.checkpoint().await;
                            }
                            memory.mend();
                        }
                        blobs = replica(&memory);
                        claim += 1;
                        writer = blobs.resume(id, claim, &record).await.expect("goes on");
                        sent = record.length() as usize;
                    }
                }
            }
            let whole = &bytes[..sent];
            let stored = commit(&blobs, writer, whole).await.expect("committed");
            assert_stored(&blobs, &stored, whole).await;
            assert_eq!(blobs.bytes_in_flight().0, 0);
            blobs.remove(&stored.digest, &stored.location).await.expect("removed");
            assert!(memory.objects().await.is_empty(), "objects stay: {:?}", memory.objects().await);
        });
    }
}
