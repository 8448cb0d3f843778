//! What every blob store has to do. A store's tests call [`every_property`], which panics where it does not.

use std::{io, os::unix::fs::FileExt, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use registry_types::{Algorithm, BlobLocation, Digest, DigestHasher, UploadId, UploadProgress};

use crate::{BlobError, BlobHandle, BlobSource, BlobStore, BlobWriter};

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
    the_same_content_committed_by_many_is_whole(&open().await).await;
    a_removed_blob_is_gone_and_open_files_stay(&open().await).await;
    sessions_left_alone_become_stale(&open).await;
}

/// A new session's progress.
pub fn nothing_yet(algorithm: Algorithm) -> UploadProgress {
    DigestHasher::new(algorithm).save().into()
}

/// All bytes of a blob.
///
/// # Errors
/// What reading gave; [`io::ErrorKind::NotFound`] when there is no such blob after all.
pub async fn read(blob: &BlobHandle) -> io::Result<Vec<u8>> {
    read_range(blob, 0, blob.size).await
}

/// `length` bytes of a blob from `start` on.
///
/// # Errors
/// As [`read`].
pub async fn read_range(blob: &BlobHandle, start: u64, length: u64) -> io::Result<Vec<u8>> {
    match &blob.content {
        BlobSource::File(file) => {
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, start)?;
            Ok(bytes)
        }
        BlobSource::Remote(remote) => {
            let mut stream = remote.stream(start, length).await.map_err(|error| match error {
                BlobError::Missing { .. } => io::Error::new(io::ErrorKind::NotFound, error),
                error => io::Error::other(error),
            })?;
            let mut bytes = Vec::new();
            while let Some(chunk) = stream.next().await {
                bytes.extend_from_slice(&chunk?);
            }
            Ok(bytes)
        }
    }
}

/// A blob that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub digest: Digest,
    pub location: BlobLocation,
    pub size: u64,
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
pub async fn store<S: BlobStore>(store: &S, bytes: &[u8], chunk: usize) -> Result<Stored, BlobError> {
    let mut writer = store.resume(UploadId::random(), 1, &nothing_yet(Algorithm::Sha256)).await?;
    write(&mut writer, bytes, chunk).await?;
    commit(store, writer, bytes).await
}

/// Ends a session as the blob of `bytes`.
///
/// # Errors
/// What the store gave.
pub async fn commit<S: BlobStore>(store: &S, writer: S::Writer, bytes: &[u8]) -> Result<Stored, BlobError> {
    commit_as(store, writer, bytes, Digest::sha256(bytes)).await
}

async fn commit_as<S: BlobStore>(
    store: &S,
    writer: S::Writer,
    bytes: &[u8],
    digest: Digest,
) -> Result<Stored, BlobError> {
    let stored = writer.commit(&digest).await?;
    assert_eq!(stored.size, bytes.len() as u64, "a commit gives the size");
    store.discard(stored.leftovers).await?;
    Ok(Stored { digest, location: stored.location, size: stored.size })
}

async fn write(writer: &mut impl BlobWriter, bytes: &[u8], chunk: usize) -> Result<(), BlobError> {
    for part in bytes.chunks(chunk) {
        writer.write(Bytes::copy_from_slice(part)).await?;
    }
    Ok(())
}

async fn new_session<S: BlobStore>(store: &S) -> (UploadId, S::Writer) {
    let id = UploadId::random();
    (id, store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("a new session"))
}

async fn open<S: BlobStore>(store: &S, stored: &Stored) -> Option<BlobHandle> {
    store.open(&stored.digest, &stored.location, stored.size).await.expect("the store answers")
}

/// Checks that a blob reads back as `bytes`.
pub async fn assert_stored<S: BlobStore>(store: &S, stored: &Stored, bytes: &[u8]) {
    let blob = open(store, stored).await.expect("the blob is there");
    assert_eq!(blob.size, bytes.len() as u64);
    assert!(read(&blob).await.expect("readable") == bytes, "{} reads back differently", stored.digest);
}

async fn assert_absent<S: BlobStore>(store: &S, stored: &Stored) {
    if let Some(blob) = open(store, stored).await {
        let error = read(&blob).await.expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
    }
}

async fn assert_absent_by_digest<S: BlobStore>(store: &S, digest: &Digest) {
    assert_absent(store, &Stored { digest: *digest, location: BlobLocation::ByDigest, size: 1 }).await;
}

/// Checks that nobody can go on with a session.
async fn assert_lost<S: BlobStore>(store: &S, id: UploadId, progress: &UploadProgress) {
    let hasher = DigestHasher::restore(&progress.hash).expect("a whole state");
    let error = match store.resume(id, 1, progress).await {
        Ok(writer) => writer.commit(&hasher.finish()).await.expect_err("nothing is there"),
        Err(error) => error,
    };
    assert!(matches!(error, BlobError::UploadLost { id: lost } if lost == id), "{error}");
}

async fn absent_blobs_are_absent<S: BlobStore>(store: &S) {
    let digest = Digest::sha256(b"nobody stored this");
    assert_absent_by_digest(store, &digest).await;
    let removed = store.remove(&digest, &BlobLocation::ByDigest).await;
    assert!(!removed.expect("the store answers"), "there was nothing to remove");
}

async fn written_bytes_are_read_back<S: BlobStore>(blobs: &S) {
    for (seed, length) in [0, 1, 70_000, 3 << 20].into_iter().enumerate() {
        let bytes = content(length, 100 + seed as u64);
        let stored = store(blobs, &bytes, 65_537).await.expect("stored");
        assert_stored(blobs, &stored, &bytes).await;
    }
    // One chunk longer than every queue.
    let bytes = content(20 << 20, 110);
    let stored = store(blobs, &bytes, bytes.len()).await.expect("stored");
    assert_stored(blobs, &stored, &bytes).await;
    let blob = open(blobs, &stored).await.expect("there");
    for (start, length) in [(0, 1), (bytes.len() - 1, 1), (8 << 20, 300_000), (4_999_999, 7_000_001)] {
        let part = read_range(&blob, start as u64, length as u64).await.expect("readable");
        assert!(part == bytes.split_at(start).1.split_at(length).0, "bytes from {start} on differ");
    }
}

async fn a_commit_may_name_either_algorithm<S: BlobStore>(store: &S) {
    for hashed in Algorithm::ALL {
        for named in Algorithm::ALL {
            let bytes = content(300_000, 200 + hashed.len() as u64 * 3 + named.len() as u64);
            let mut writer =
                store.resume(UploadId::random(), 1, &nothing_yet(hashed)).await.expect("a new session");
            write(&mut writer, &bytes, 100_000).await.expect("written");
            let stored =
                commit_as(store, writer, &bytes, Digest::of(named, &bytes)).await.expect("committed");
            assert_stored(store, &stored, &bytes).await;
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
        assert_absent_by_digest(store, &Digest::sha256(&bytes)).await;
        assert_absent_by_digest(store, &expected).await;
        assert_lost(store, id, &progress).await;
    }
}

async fn nothing_is_visible_before_its_commit<S: BlobStore>(store: &S) {
    let bytes = content(700_000, 400);
    let (_, mut writer) = new_session(store).await;
    write(&mut writer, &bytes, 100_000).await.expect("written");
    writer.checkpoint().await.expect("durable");
    assert_absent_by_digest(store, &Digest::sha256(&bytes)).await;
    let stored = commit(store, writer, &bytes).await.expect("committed");
    assert_stored(store, &stored, &bytes).await;
}

async fn a_session_goes_on_after_a_restart<S: BlobStore>(open: &impl AsyncFn() -> S) {
    let bytes = content(3 << 20, 500);
    let id = UploadId::random();
    let mut progress = nothing_yet(Algorithm::Sha256);
    for end in [1, 200_000, 1 << 20, 2 << 20] {
        let store = open().await;
        let mut writer = store.resume(id, 1, &progress).await.expect("the session goes on");
        assert_eq!(writer.length(), progress.length());
        let (_, rest) = bytes.split_at(progress.length() as usize);
        let (part, _) = rest.split_at(end - progress.length() as usize);
        write(&mut writer, part, 50_000).await.expect("written");
        progress = writer.checkpoint().await.expect("durable");
        assert_eq!((progress.length(), writer.length()), (end as u64, end as u64));
        // What comes behind the recorded progress is cut off by the next resume, though it arrived.
        write(&mut writer, &content(400_000, 501), 90_000).await.expect("written");
        writer.checkpoint().await.expect("durable, and not recorded");
    }
    let store = open().await;
    let mut writer = store.resume(id, 1, &progress).await.expect("the session goes on");
    write(&mut writer, bytes.split_at(2 << 20).1, 100_000).await.expect("written");
    let stored = commit(&store, writer, &bytes).await.expect("committed");
    assert_stored(&open().await, &stored, &bytes).await;
}

async fn a_session_that_lost_bytes_is_refused<S: BlobStore>(store: &S) {
    let mut hasher = DigestHasher::new(Algorithm::Sha256);
    hasher.update(b"bytes that were never written");
    let promised = UploadProgress::from(hasher.save());
    assert_lost(store, UploadId::random(), &promised).await;
    let (id, mut writer) = new_session(store).await;
    writer.write(Bytes::from_static(b"bytes")).await.expect("written");
    let progress = writer.checkpoint().await.expect("durable");
    drop(writer);
    assert_lost(store, id, &UploadProgress { hash: promised.hash, ..progress }).await;
}

async fn a_checkpoint_covers_what_was_written_before_it<S: BlobStore>(store: &S) {
    let bytes = content(4 << 20, 600);
    let (id, mut writer) = new_session(store).await;
    let (first, second) = bytes.split_at(1 << 20);
    write(&mut writer, first, 60_000).await.expect("written");
    let checkpoint = writer.checkpoint();
    write(&mut writer, second, 60_000).await.expect("writes go on meanwhile");
    let progress = checkpoint.await.expect("durable");
    let length = progress.length();
    assert!((first.len() as u64..=bytes.len() as u64).contains(&length), "{length}");
    assert_state_of(&progress, &bytes);
    let on_the_way = writer.checkpoint_on_the_way().await.expect("durable");
    assert!((length..=bytes.len() as u64).contains(&on_the_way.length()), "{}", on_the_way.length());
    assert_state_of(&on_the_way, &bytes);
    // A checkpoint begun is carried out without its writer.
    let checkpoint = writer.checkpoint();
    drop(writer);
    let progress = checkpoint.await.expect("durable");
    assert_eq!(progress.length(), bytes.len() as u64);
    let writer = store.resume(id, 1, &progress).await.expect("the session goes on");
    let stored = commit(store, writer, &bytes).await.expect("committed");
    assert_stored(store, &stored, &bytes).await;
}

/// Checks that a progress is one of `bytes`.
fn assert_state_of(progress: &UploadProgress, bytes: &[u8]) {
    let covered = bytes.split_at(progress.length() as usize).0;
    let hasher = DigestHasher::restore(&progress.hash).expect("a whole state");
    assert_eq!(hasher.finish(), Digest::sha256(covered), "the state is that of its length");
}

async fn an_aborted_session_is_gone<S: BlobStore>(store: &S) {
    let (id, mut writer) = new_session(store).await;
    writer.write(Bytes::from_static(b"never mind")).await.expect("written");
    let progress = writer.checkpoint().await.expect("durable");
    store.abort(id, Some(&progress)).await.expect("aborted");
    store.abort(id, Some(&progress)).await.expect("and again");
    // A writer that was at work finds out.
    let late = match writer.write(Bytes::from_static(b"late")).await {
        Ok(()) => writer.commit(&Digest::sha256(b"never mindlate")).await.map(|_| ()),
        late => late,
    };
    assert!(matches!(late, Err(BlobError::UploadLost { .. })), "{late:?}");
    assert_lost(store, id, &progress).await;
    store.abort(UploadId::random(), None).await.expect("a session that never was");
}

async fn a_session_taken_over_is_left_alone_by_its_old_writer<S: BlobStore>(store: &S) {
    let bytes = content(2 << 20, 700);
    let (id, mut old) = new_session(store).await;
    write(&mut old, &bytes, 60_000).await.expect("written");
    let progress = old.checkpoint().await.expect("durable");
    write(&mut old, &content(900_000, 701), 60_000).await.expect("written");
    let mut new = store.resume(id, 1, &progress).await.expect("taken over");
    let late = match write(&mut old, &content(900_000, 702), 60_000).await {
        Ok(()) => old.checkpoint().await.map(|_| ()),
        late => late,
    };
    assert!(matches!(late, Err(BlobError::UploadLost { .. })), "{late:?}");
    new.write(Bytes::from_static(b"the end")).await.expect("written");
    let whole = [bytes.as_slice(), b"the end"].concat();
    let stored = commit(store, new, &whole).await.expect("committed");
    assert_stored(store, &stored, &whole).await;
}

async fn the_same_content_committed_by_many_is_whole<S: BlobStore>(blobs: &S) {
    let bytes = content(1 << 20, 800);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16_usize {
        let (blobs, bytes) = (blobs.clone(), bytes.clone());
        writers.spawn(async move { store(&blobs, &bytes, 10_000 + writer * 1000).await });
    }
    let mut locations = Vec::new();
    for stored in writers.join_all().await {
        let stored = stored.expect("stored");
        assert_stored(blobs, &stored, &bytes).await;
        locations.push(stored);
    }
    locations.sort_by(|one, other| one.location.cmp(&other.location));
    locations.dedup();
    for (number, stored) in locations.iter().enumerate() {
        blobs.remove(&stored.digest, &stored.location).await.expect("the store answers");
        assert_absent(blobs, stored).await;
        for other in locations.iter().skip(number + 1) {
            assert_stored(blobs, other, &bytes).await;
        }
    }
}

async fn a_removed_blob_is_gone_and_open_files_stay<S: BlobStore>(blobs: &S) {
    let bytes = content(300_000, 900);
    for _ in 0..2 {
        let stored = store(blobs, &bytes, 100_000).await.expect("stored");
        let blob = open(blobs, &stored).await.expect("there");
        let remove =
            async || blobs.remove(&stored.digest, &stored.location).await.expect("the store answers");
        let by_digest = stored.location == BlobLocation::ByDigest;
        assert!(remove().await || !by_digest, "it was there");
        assert!(!(remove().await && by_digest), "it is gone");
        assert_absent(blobs, &stored).await;
        if by_digest {
            assert!(read(&blob).await.expect("readable") == bytes, "an open blob can be read to its end");
        }
    }
}

async fn sessions_left_alone_become_stale<S: BlobStore>(open: &impl AsyncFn() -> S) {
    let store = open().await;
    let (left, mut writer) = new_session(&store).await;
    writer.write(Bytes::from_static(b"left alone")).await.expect("written");
    writer.checkpoint().await.expect("durable");
    drop(writer);
    if store.records_sessions() {
        let stale = store.stale_sessions(Duration::ZERO).await.expect("the store answers");
        assert!(stale.is_empty(), "every session has a record: {stale:?}");
        return;
    }
    let (at_work, writer) = new_session(&store).await;
    let stale = store.stale_sessions(Duration::ZERO).await.expect("the store answers");
    assert!(stale.contains(&left) && !stale.contains(&at_work), "{left} of {stale:?}");
    let stale = store.stale_sessions(Duration::from_hours(1)).await.expect("the store answers");
    assert!(!stale.contains(&left), "it was touched just now");
    drop(writer);
    store.abort(left, None).await.expect("aborted");
    let stale = store.stale_sessions(Duration::ZERO).await.expect("the store answers");
    assert!(!stale.contains(&left), "an aborted session is gone");
}
