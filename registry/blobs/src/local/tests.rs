//! What only a store on a local disk can be asked: crashes, a full disk, threads, damaged files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;
use registry_types::{Algorithm, BlobLocation, Digest, UploadId};

use super::LocalBlobs;
use crate::{
    BlobError, BlobStore, BlobWriter,
    suite::{self, content, nothing_yet},
};

async fn open(folder: &Path) -> LocalBlobs {
    LocalBlobs::in_directory(folder.to_owned()).await.expect("opened")
}

fn session_file(folder: &Path, id: UploadId) -> PathBuf {
    folder.join("uploads").join(id.to_string())
}

fn blob_file(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    let shard = hex.split_at(2).0;
    folder.join(format!("docker/registry/v2/blobs/{}/{shard}/{hex}/data", digest.algorithm()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_local_store_has_every_property() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    suite::every_property(async || open(folder.path()).await).await;
    let left: Vec<_> = fs::read_dir(folder.path().join("uploads"))
        .expect("readable")
        .map(|entry| entry.expect("an entry").file_name())
        .filter_map(|name| name.to_str().and_then(|name| name.parse::<UploadId>().ok()))
        .collect();
    // Sessions that were opened and never finished; no temporary file of a committed one stays.
    assert!(left.len() <= 3, "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_can_be_read_while_it_is_written_and_when_it_has_become_a_blob() {
    use std::os::unix::fs::FileExt;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let id = UploadId::random();
    assert!(store.session_file(id).await.expect("answered").is_none());
    let content = Bytes::from(content(700_000, 3));
    let mut writer = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("resumed");
    writer.write(content.slice(..400_000)).await.expect("written");
    writer.checkpoint().await.expect("durable");
    let file = store.session_file(id).await.expect("answered").expect("there");
    let mut got = vec![0; 400_000];
    file.read_exact_at(&mut got, 0).expect("read");
    assert!(got == content[..400_000]);
    writer.write(content.slice(400_000..)).await.expect("written");
    writer.commit(&Digest::sha256(&content)).await.expect("committed");
    let mut got = vec![0; 700_000];
    file.read_exact_at(&mut got, 0).expect("the open file is the blob's now");
    assert!(got == content);
    assert!(store.session_file(id).await.expect("answered").is_none());
}

/// What a client and a crash may do to a session.
#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Checkpoint,
    /// The process dies: bytes behind the checkpoint may have reached the disk or not.
    Crash {
        garbage: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_usize..400_000).prop_map(Step::Write),
        3 => (1_usize..2000).prop_map(Step::Write),
        2 => Just(Step::Checkpoint),
        1 => (0_usize..300_000).prop_map(|garbage| Step::Crash { garbage }),
    ];
    proptest::collection::vec(step, 1..14)
}

/// Carries `steps` out on one session, starting again from the last checkpoint after each crash.
async fn carry_out(folder: &Path, steps: &[Step], algorithm: Algorithm) {
    let bytes = content(400_000 * steps.len(), 1);
    let id = UploadId::random();
    let mut progress = nothing_yet(Algorithm::Sha256);
    let mut store = open(folder).await;
    let mut writer = store.resume(id, 1, &progress).await.expect("a new session");
    for step in steps {
        match *step {
            Step::Write(length) => {
                let start = writer.length() as usize;
                let chunk = Bytes::copy_from_slice(bytes.split_at(start).1.split_at(length).0);
                writer.write(chunk).await.expect("written");
            }
            Step::Checkpoint => progress = writer.checkpoint().await.expect("durable"),
            Step::Crash { garbage } => {
                // Not recorded, only waited for: nothing of this process may write after its end.
                writer.checkpoint().await.expect("quiet");
                drop(writer);
                let file = session_file(folder, id);
                let mut damaged = fs::read(&file).expect("there");
                damaged.truncate(progress.length() as usize);
                damaged.extend(content(garbage, 2));
                fs::write(&file, damaged).expect("written");
                store = open(folder).await;
                writer = store.resume(id, 1, &progress).await.expect("goes on");
            }
        }
    }
    let whole = bytes.split_at(writer.length() as usize).0;
    let digest = Digest::of(algorithm, whole);
    assert_eq!(writer.commit(&digest).await.expect("committed").size, whole.len() as u64);
    let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
    assert!(suite::read(&blob).await.expect("readable") == whole, "the blob differs");
    assert!(!session_file(folder, id).exists(), "the session's file stayed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_chunks_and_crashes_give_the_same_blob(steps in steps(), long in any::<bool>()) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        runtime.block_on(carry_out(folder.path(), &steps, algorithm));
    }
}

#[test]
fn sessions_hold_no_thread_while_their_client_is_silent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Far fewer threads than sessions.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let store = open(folder.path()).await;
        let bytes = content(600_000, 3);
        let mut writers = Vec::new();
        for _ in 0..100 {
            let writer = store.resume(UploadId::random(), 1, &nothing_yet(Algorithm::Sha256)).await;
            writers.push(writer.expect("a new session"));
        }
        for part in bytes.chunks(100_000) {
            for writer in &mut writers {
                writer.write(Bytes::copy_from_slice(part)).await.expect("written");
            }
        }
        for (number, mut writer) in writers.into_iter().enumerate() {
            let end = number.to_string();
            writer.write(Bytes::from(end.clone())).await.expect("written");
            let whole = [bytes.as_slice(), end.as_bytes()].concat();
            writer.commit(&Digest::sha256(&whole)).await.expect("committed");
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_and_a_takeover_at_once_never_store_a_damaged_blob() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let mut committed = 0;
    for round in 0..60 {
        let bytes = content(200_000, 1000 + round);
        let digest = Digest::sha256(&bytes);
        let id = UploadId::random();
        let mut writer = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("a new session");
        writer.write(Bytes::copy_from_slice(bytes.split_at(1000).0)).await.expect("written");
        let progress = writer.checkpoint().await.expect("durable");
        writer.write(Bytes::copy_from_slice(bytes.split_at(1000).1)).await.expect("written");
        let commit = tokio::spawn(async move { writer.commit(&digest).await });
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_micros(round * 50)).await;
        }
        let taken = store.resume(id, 1, &progress).await;
        let commit = commit.await.expect("no panic");
        committed += usize::from(commit.is_ok());
        match store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers") {
            Some(blob) => assert!(suite::read(&blob).await.expect("readable") == bytes, "round {round}"),
            None => assert!(commit.is_err() && taken.is_ok(), "round {round}: nobody has the bytes"),
        }
    }
    println!("{committed} of 60 commits came first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_at_the_same_folder_lets_a_commit_succeed_or_start_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let bytes = content(1000, 4);
    let digest = Digest::sha256(&bytes);
    let collector = {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                store.remove(&digest, &BlobLocation::ByDigest).await.expect("removed or not there");
                tokio::task::yield_now().await;
            }
        })
    };
    let mut stored = 0;
    for _ in 0..100 {
        match suite::store(&store, &bytes, 1000).await {
            Ok(_) => stored += 1,
            // Taken away between the rename and the sync.
            Err(BlobError::UploadLost { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stored > 0);
    collector.abort();
    assert!(collector.await.is_err_and(|end| end.is_cancelled()), "the collector failed");
    suite::store(&store, &bytes, 1000).await.expect("stored");
    let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
    assert!(suite::read(&blob).await.expect("readable") == bytes);
}

#[tokio::test]
async fn a_stored_blob_of_the_wrong_length_is_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let bytes = content(100_000, 5);
    let digest = suite::store(&store, &bytes, 10_000).await.expect("stored").digest;
    fs::write(blob_file(folder.path(), &digest), b"cut by a crash of another registry").expect("damaged");
    suite::store(&store, &bytes, 10_000).await.expect("stored again");
    let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
    assert!(suite::read(&blob).await.expect("readable") == bytes);
}

#[tokio::test]
async fn a_session_file_that_is_a_blob_too_is_not_cut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let bytes = content(100_000, 6);
    let digest = suite::store(&store, &bytes, 10_000).await.expect("stored").digest;
    let id = UploadId::random();
    let session = session_file(folder.path(), id);
    fs::hard_link(blob_file(folder.path(), &digest), &session).expect("a second name");
    let error = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect_err("not this session's");
    assert!(matches!(error, BlobError::UploadLost { .. }), "{error}");
    let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
    assert!(suite::read(&blob).await.expect("readable") == bytes);
    assert!(!session.exists());
}

/// A crash after the rename and before the link: the record of the session is still there, its file is not.
#[tokio::test]
async fn a_session_that_became_a_blob_goes_on() {
    let bytes = content(100_000, 7);
    let digest = Digest::sha256(&bytes);
    for left in ["nothing", "a second name", "a copy that was cut"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = open(folder.path()).await;
        let id = UploadId::random();
        let mut writer = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("a new session");
        writer.write(Bytes::from(bytes.clone())).await.expect("written");
        let progress = writer.checkpoint().await.expect("durable");
        writer.commit(&digest).await.expect("stored");
        drop(store);
        let (blob, session) = (blob_file(folder.path(), &digest), session_file(folder.path(), id));
        match left {
            "nothing" => {}
            "a second name" => fs::hard_link(&blob, &session).expect("linked"),
            _ => fs::write(&session, &bytes[..10]).expect("written"),
        }
        let store = open(folder.path()).await;
        let mut writer = store.resume(id, 1, &progress).await.expect(left);
        writer.write(Bytes::from_static(b"more")).await.expect("written");
        let longer = [bytes.as_slice(), b"more"].concat();
        writer.commit(&Digest::sha256(&longer)).await.expect("stored");
        let stored = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
        assert!(suite::read(&stored).await.expect("readable") == bytes, "{left}: the blob was changed");
        fs::remove_file(&blob).expect("removed");
        let error = store.resume(UploadId::random(), 1, &progress).await.expect_err("nothing is there");
        assert!(matches!(error, BlobError::UploadLost { .. }), "{error}");
    }
}

#[tokio::test]
async fn an_adopted_tree_is_read_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let digest = Digest::sha256(b"from before");
    let file = blob_file(folder.path(), &digest);
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(&file, b"from before").expect("written");
    let store = open(folder.path()).await;
    let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
    assert_eq!(suite::read(&blob).await.expect("readable"), b"from before");
}

/// A file system of a few MiB, unmounted when dropped.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let options = c"size=8m";
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", rustix::mount::MountFlags::empty(), options)
            .ok()?;
        Some(Self { folder })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.folder.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_one_clear_error_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let store = open(disk.folder.path()).await;
    let kept = content(1 << 20, 7);
    let kept_digest = suite::store(&store, &kept, 100_000).await.expect("it fits").digest;
    let bytes = content(16 << 20, 8);
    let id = UploadId::random();
    let mut writer = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("a new session");
    writer.write(Bytes::copy_from_slice(bytes.split_at(2 << 20).0)).await.expect("it fits");
    let progress = writer.checkpoint().await.expect("durable");
    let full = match writer.write(Bytes::copy_from_slice(bytes.split_at(2 << 20).1)).await {
        Ok(()) => writer.checkpoint().await.map(|_| ()),
        full => full,
    };
    assert!(matches!(full, Err(BlobError::Full)), "{full:?}");
    // Before the last byte was taken: rows have room.
    let rows = fs::write(disk.folder.path().join("rows"), vec![0; 900 << 10]);
    rows.expect("an eighth of the disk is left for the metadata");
    fs::remove_file(disk.folder.path().join("rows")).expect("removed");
    let again = writer.commit(&Digest::sha256(&bytes)).await;
    assert!(matches!(again, Err(BlobError::Full)), "{again:?}");
    // What was acknowledged is there: the blob, and the session up to its checkpoint.
    let blob = store.open(&kept_digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
    assert!(suite::read(&blob).await.expect("readable") == kept);
    let writer = store.resume(id, 1, &progress).await.expect("goes on from its checkpoint");
    let cut = fs::metadata(session_file(disk.folder.path(), id)).expect("there").len();
    assert_eq!(cut, progress.length(), "the room of what was not acknowledged is given back");
    let short = bytes.split_at(2 << 20).0;
    let digest = Digest::sha256(short);
    writer.commit(&digest).await.expect("there is room for this");
    let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
    assert!(suite::read(&blob).await.expect("readable") == short);
}
