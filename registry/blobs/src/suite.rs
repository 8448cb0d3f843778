//! What every blob store has to do. A store's tests call [`every_property`], which panics where it does not.

use std::{os::unix::fs::FileExt, time::Duration};

use bytes::Bytes;
use registry_types::{Algorithm, Digest, DigestHasher, HashState, UploadId};

use crate::{BlobError, BlobHandle, BlobStore, BlobWriter};

/// Checks a store. `open` opens it on the same data each time it is called, as after a restart; at first there
/// must be nothing in it.
pub async fn every_property<S: BlobStore>(open: impl AsyncFn() -> S) {
    absent_blobs_are_absent(&open().await).await;
    written_bytes_are_read_back(&open().await).await;
    a_commit_may_name_either_algorithm(&open().await).await;
    a_wrong_digest_stores_nothing(&open().await).await;
    nothing_is_visible_before_its_commit(&open().await).await;
    a_session_goes_on_after_a_restart(&open).await;
    a_session_that_lost_bytes_is_refused(&open().await).await;
    a_checkpoint_covers_what_was_written_before_it(&open().await).await;
    an_aborted_session_is_gone(&open().await).await;
    a_session_taken_over_is_left_alone_by_its_old_writer(&open().await).await;
    the_same_content_committed_by_many_is_stored_once(&open().await).await;
    a_removed_blob_is_gone_and_open_files_stay(&open().await).await;
    sessions_left_alone_become_stale(&open).await;
}

/// A new session's progress.
pub fn nothing_yet(algorithm: Algorithm) -> HashState {
    DigestHasher::new(algorithm).save()
}

/// All bytes of a blob.
///
/// # Errors
/// What reading the file gave.
pub fn read(blob: &BlobHandle) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(blob.size).map_err(std::io::Error::other)?];
    blob.file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Bytes of their own for each `seed`, so that no property finds another's blobs.
pub fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Stores `bytes` in one session, in chunks of `chunk` bytes.
///
/// # Errors
/// What the store gave.
pub async fn store<S: BlobStore>(store: &S, bytes: &[u8], chunk: usize) -> Result<Digest, BlobError> {
    let digest = Digest::sha256(bytes);
    let mut writer = store.resume(UploadId::random(), &nothing_yet(Algorithm::Sha256)).await?;
    write(&mut writer, bytes, chunk).await?;
    let size = writer.commit(&digest).await?;
    assert_eq!(size, bytes.len() as u64, "a commit gives the size");
    Ok(digest)
}

async fn write(writer: &mut impl BlobWriter, bytes: &[u8], chunk: usize) -> Result<(), BlobError> {
    for part in bytes.chunks(chunk) {
        writer.write(Bytes::copy_from_slice(part)).await?;
    }
    Ok(())
}

async fn new_session<S: BlobStore>(store: &S) -> (UploadId, S::Writer) {
    let id = UploadId::random();
    (id, store.resume(id, &nothing_yet(Algorithm::Sha256)).await.expect("a new session"))
}

async fn assert_stored<S: BlobStore>(store: &S, digest: &Digest, bytes: &[u8]) {
    let blob = store.open(digest).await.expect("the store answers").expect("the blob is there");
    assert_eq!(blob.size, bytes.len() as u64);
    assert!(read(&blob).expect("readable") == bytes, "{digest} reads back differently");
}

async fn assert_absent<S: BlobStore>(store: &S, digest: &Digest) {
    let blob = store.open(digest).await.expect("the store answers");
    assert!(blob.is_none(), "{digest} is there");
}

async fn absent_blobs_are_absent<S: BlobStore>(store: &S) {
    let digest = Digest::sha256(b"nobody stored this");
    assert_absent(store, &digest).await;
    assert!(!store.remove(&digest).await.expect("the store answers"), "there was nothing to remove");
}

async fn written_bytes_are_read_back<S: BlobStore>(blobs: &S) {
    for (seed, length) in [0, 1, 70_000, 3 << 20].into_iter().enumerate() {
        let bytes = content(length, 100 + seed as u64);
        let digest = store(blobs, &bytes, 65_537).await.expect("stored");
        assert_stored(blobs, &digest, &bytes).await;
    }
    // One chunk longer than every queue.
    let bytes = content(20 << 20, 110);
    let digest = store(blobs, &bytes, bytes.len()).await.expect("stored");
    assert_stored(blobs, &digest, &bytes).await;
}

async fn a_commit_may_name_either_algorithm<S: BlobStore>(store: &S) {
    for hashed in Algorithm::ALL {
        for named in Algorithm::ALL {
            let bytes = content(300_000, 200 + hashed.len() as u64 * 3 + named.len() as u64);
            let digest = Digest::of(named, &bytes);
            let mut writer =
                store.resume(UploadId::random(), &nothing_yet(hashed)).await.expect("a new session");
            write(&mut writer, &bytes, 100_000).await.expect("written");
            assert_eq!(writer.commit(&digest).await.expect("committed"), 300_000);
            assert_stored(store, &digest, &bytes).await;
        }
    }
}

async fn a_wrong_digest_stores_nothing<S: BlobStore>(store: &S) {
    let bytes = content(500_000, 300);
    for expected in [Digest::sha256(b"something else"), Digest::of(Algorithm::Sha512, b"something else")] {
        let (id, mut writer) = new_session(store).await;
        write(&mut writer, &bytes, 100_000).await.expect("written");
        let progress = writer.checkpoint().await.expect("durable");
        match writer.commit(&expected).await {
            Err(BlobError::DigestMismatch { expected: named, actual: found }) => {
                assert_eq!((named, found), (expected, Digest::of(expected.algorithm(), &bytes)));
            }
            other => panic!("{other:?}"),
        }
        assert_absent(store, &Digest::sha256(&bytes)).await;
        assert_absent(store, &expected).await;
        let error = store.resume(id, &progress).await.err().expect("the session's data is removed");
        assert!(matches!(error, BlobError::UploadLost { id: lost } if lost == id), "{error}");
    }
}

async fn nothing_is_visible_before_its_commit<S: BlobStore>(store: &S) {
    let bytes = content(700_000, 400);
    let digest = Digest::sha256(&bytes);
    let (_, mut writer) = new_session(store).await;
    write(&mut writer, &bytes, 100_000).await.expect("written");
    writer.checkpoint().await.expect("durable");
    assert_absent(store, &digest).await;
    writer.commit(&digest).await.expect("committed");
    assert_stored(store, &digest, &bytes).await;
}

async fn a_session_goes_on_after_a_restart<S: BlobStore>(open: &impl AsyncFn() -> S) {
    let bytes = content(3 << 20, 500);
    let digest = Digest::sha256(&bytes);
    let id = UploadId::random();
    let mut progress = nothing_yet(Algorithm::Sha256);
    for end in [1, 200_000, 1 << 20, 2 << 20] {
        let store = open().await;
        let mut writer = store.resume(id, &progress).await.expect("the session goes on");
        assert_eq!(writer.length(), progress.length);
        let (_, rest) = bytes.split_at(progress.length as usize);
        let (part, _) = rest.split_at(end - progress.length as usize);
        write(&mut writer, part, 50_000).await.expect("written");
        progress = writer.checkpoint().await.expect("durable");
        assert_eq!((progress.length, writer.length()), (end as u64, end as u64));
        // What comes behind the recorded progress is cut off by the next resume, though it arrived.
        write(&mut writer, &content(400_000, 501), 90_000).await.expect("written");
        writer.checkpoint().await.expect("durable, and not recorded");
    }
    let store = open().await;
    let mut writer = store.resume(id, &progress).await.expect("the session goes on");
    write(&mut writer, bytes.split_at(2 << 20).1, 100_000).await.expect("written");
    assert_eq!(writer.commit(&digest).await.expect("committed"), bytes.len() as u64);
    assert_stored(&open().await, &digest, &bytes).await;
}

async fn a_session_that_lost_bytes_is_refused<S: BlobStore>(store: &S) {
    let mut hasher = DigestHasher::new(Algorithm::Sha256);
    hasher.update(b"bytes that were never written");
    let error = store.resume(UploadId::random(), &hasher.save()).await.err().expect("nothing is there");
    assert!(matches!(error, BlobError::UploadLost { .. }), "{error}");
    let (id, mut writer) = new_session(store).await;
    writer.write(Bytes::from_static(b"bytes")).await.expect("written");
    writer.checkpoint().await.expect("durable");
    drop(writer);
    let error = store.resume(id, &hasher.save()).await.err().expect("fewer bytes are there");
    assert!(matches!(error, BlobError::UploadLost { .. }), "{error}");
}

async fn a_checkpoint_covers_what_was_written_before_it<S: BlobStore>(store: &S) {
    let bytes = content(4 << 20, 600);
    let (id, mut writer) = new_session(store).await;
    let (first, second) = bytes.split_at(1 << 20);
    write(&mut writer, first, 60_000).await.expect("written");
    let checkpoint = writer.checkpoint();
    write(&mut writer, second, 60_000).await.expect("writes go on meanwhile");
    let progress = checkpoint.await.expect("durable");
    assert!((first.len() as u64..=bytes.len() as u64).contains(&progress.length), "{}", progress.length);
    let covered = bytes.split_at(progress.length as usize).0;
    let hasher = DigestHasher::restore(&progress).expect("a whole state");
    assert_eq!(hasher.finish(), Digest::sha256(covered), "the state is that of its length");
    // A checkpoint begun is carried out without its writer.
    let checkpoint = writer.checkpoint();
    drop(writer);
    let progress = checkpoint.await.expect("durable");
    assert_eq!(progress.length, bytes.len() as u64);
    let writer = store.resume(id, &progress).await.expect("the session goes on");
    let digest = Digest::sha256(&bytes);
    writer.commit(&digest).await.expect("committed");
    assert_stored(store, &digest, &bytes).await;
}

async fn an_aborted_session_is_gone<S: BlobStore>(store: &S) {
    let (id, mut writer) = new_session(store).await;
    writer.write(Bytes::from_static(b"never mind")).await.expect("written");
    let progress = writer.checkpoint().await.expect("durable");
    store.abort(id).await.expect("aborted");
    store.abort(id).await.expect("and again");
    // A writer that was at work finds out.
    let late = match writer.write(Bytes::from_static(b"late")).await {
        Ok(()) => writer.commit(&Digest::sha256(b"never mindlate")).await.map(|_| ()),
        late => late,
    };
    assert!(matches!(late, Err(BlobError::UploadLost { .. })), "{late:?}");
    let error = store.resume(id, &progress).await.err().expect("nothing is there");
    assert!(matches!(error, BlobError::UploadLost { .. }), "{error}");
    store.abort(UploadId::random()).await.expect("a session that never was");
}

async fn a_session_taken_over_is_left_alone_by_its_old_writer<S: BlobStore>(store: &S) {
    let bytes = content(2 << 20, 700);
    let (id, mut old) = new_session(store).await;
    write(&mut old, &bytes, 60_000).await.expect("written");
    let progress = old.checkpoint().await.expect("durable");
    write(&mut old, &content(900_000, 701), 60_000).await.expect("written");
    let mut new = store.resume(id, &progress).await.expect("taken over");
    let late = match write(&mut old, &content(900_000, 702), 60_000).await {
        Ok(()) => old.checkpoint().await.map(|_| ()),
        late => late,
    };
    assert!(matches!(late, Err(BlobError::UploadLost { .. })), "{late:?}");
    new.write(Bytes::from_static(b"the end")).await.expect("written");
    let whole = [bytes.as_slice(), b"the end"].concat();
    let digest = Digest::sha256(&whole);
    new.commit(&digest).await.expect("committed");
    assert_stored(store, &digest, &whole).await;
}

async fn the_same_content_committed_by_many_is_stored_once<S: BlobStore>(blobs: &S) {
    let bytes = content(1 << 20, 800);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16_usize {
        let (blobs, bytes) = (blobs.clone(), bytes.clone());
        writers.spawn(async move { store(&blobs, &bytes, 10_000 + writer * 1000).await });
    }
    for digest in writers.join_all().await {
        assert_stored(blobs, &digest.expect("stored"), &bytes).await;
    }
    let digest = Digest::sha256(&bytes);
    assert!(blobs.remove(&digest).await.expect("the store answers"));
    assert_absent(blobs, &digest).await;
}

async fn a_removed_blob_is_gone_and_open_files_stay<S: BlobStore>(blobs: &S) {
    let bytes = content(300_000, 900);
    for _ in 0..2 {
        let digest = store(blobs, &bytes, 100_000).await.expect("stored");
        let blob = blobs.open(&digest).await.expect("the store answers").expect("there");
        assert!(blobs.remove(&digest).await.expect("the store answers"), "it was there");
        assert!(!blobs.remove(&digest).await.expect("the store answers"), "it is gone");
        assert_absent(blobs, &digest).await;
        assert!(read(&blob).expect("readable") == bytes, "an open blob can be read to its end");
    }
}

async fn sessions_left_alone_become_stale<S: BlobStore>(open: &impl AsyncFn() -> S) {
    let store = open().await;
    let (left, mut writer) = new_session(&store).await;
    writer.write(Bytes::from_static(b"left alone")).await.expect("written");
    writer.checkpoint().await.expect("durable");
    drop(writer);
    let (at_work, writer) = new_session(&store).await;
    let stale = store.stale_sessions(Duration::ZERO).await.expect("the store answers");
    assert!(stale.contains(&left) && !stale.contains(&at_work), "{left} of {stale:?}");
    let stale = store.stale_sessions(Duration::from_hours(1)).await.expect("the store answers");
    assert!(!stale.contains(&left), "it was touched just now");
    drop(writer);
    store.abort(left).await.expect("aborted");
    let stale = store.stale_sessions(Duration::ZERO).await.expect("the store answers");
    assert!(!stale.contains(&left), "an aborted session is gone");
}
