//! A process that is killed at any moment: what it acknowledged is there when the database is opened again, and
//! what it did not is there whole or not at all.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use registry_metadata::{
    BlobMetadata, Change, CollectPolicy, CollectionMetadata, ManifestMetadata, MetadataError,
    OperationMetadata, SqliteMetadata, UploadMetadata, suite::samples, summarize,
};
use registry_types::{Algorithm, DigestHasher, RepositoryName, UploadId};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use crate::child;

/// Writers in the process to be killed.
const WRITERS: usize = 6;

/// Every so many images the last one is deleted again.
const DELETE_EVERY: usize = 4;

/// The first number to push; a failpoint to die at, and the time it is to be reached before.
const FROM: &str = "METADATA_TEST_FROM";
const DIE_AT: &str = "METADATA_TEST_DIE_AT";
const DIE_AFTER: &str = "METADATA_TEST_DIE_AFTER";

fn repository_of(writer: usize) -> RepositoryName {
    samples::repository(&format!("team/writer{writer}"))
}

fn is_deleted(number: usize) -> bool {
    number % DELETE_EVERY == DELETE_EVERY - 1
}

/// One line, in one write: the parent reads whole acknowledgements or none.
fn acknowledge(writer: usize, number: usize) {
    std::io::stderr().write_all(format!("ack {writer} {number}\n").as_bytes()).unwrap();
}

async fn write_forever(store: SqliteMetadata, writer: usize, from: usize) {
    let here = repository_of(writer);
    for number in from.. {
        let (name, tag) = (number.to_string(), format!("t{number}"));
        let image = samples::pushed_image(&store, &here, &name, &["latest", &tag]).await;
        if is_deleted(number) {
            assert!(store.delete_manifest(&here, &image.digest, Change::now()).await.unwrap());
        }
        acknowledge(writer, number);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by another test in a process of its own"]
async fn child_writes_until_it_is_killed() {
    let _scenario = fail::FailScenario::setup();
    if let Ok(point) = std::env::var(DIE_AT) {
        let left = AtomicUsize::new(child::number(DIE_AFTER).unwrap());
        let die = move || {
            if left.fetch_sub(1, Ordering::SeqCst) == 0 {
                std::process::abort();
            }
        };
        fail::cfg_callback(point, die).unwrap();
    }
    let store = SqliteMetadata::open(&child::database()).unwrap();
    let from = child::number(FROM).unwrap();
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        tasks.spawn(write_forever(store.clone(), writer, from));
    }
    tasks.spawn(collect_forever(store));
    tasks.join_all().await;
}

/// Makes garbage whose lease was over long ago, and collects it to its last byte.
async fn collect_forever(store: SqliteMetadata) {
    let here = samples::repository("team/garbage");
    for number in 0_u64.. {
        let now = OffsetDateTime::now_utc();
        let garbage = samples::blob(&format!("garbage {number}"));
        store.link_blob(&here, &garbage, None, Change::at(now - Duration::from_hours(48))).await.unwrap();
        store.collect(&CollectPolicy::default(), now, 3).await.unwrap();
        for removal in store.removals(now, Duration::ZERO, 1).await.unwrap() {
            assert!(store.removal_wanted(&removal).await.unwrap());
            store.finish_removal(&removal).await.unwrap();
        }
    }
}

/// Collects all there is long after the crash, when no lease holds any more.
async fn collect_all(store: &SqliteMetadata) {
    let late = OffsetDateTime::now_utc() + Duration::from_hours(48);
    while store.collect(&CollectPolicy::default(), late, 1_000).await.unwrap().examined > 0 {}
    let garbage = samples::repository("team/garbage");
    for number in 0..3 {
        let blob = samples::blob(&format!("garbage {number}"));
        assert_eq!(samples::linked_blob(store, &garbage, &blob.digest).await, None);
    }
    for removal in store.removals(late, Duration::ZERO, usize::MAX).await.unwrap() {
        assert!(store.removal_wanted(&removal).await.unwrap());
    }
}

/// Totals agree with the rows, whenever the process died.
async fn check_totals(store: &SqliteMetadata) {
    let rows = summarize(store).await.unwrap();
    let rows = |table| rows.iter().find(|total| total.table == table).unwrap().rows;
    let counts = store.counts().await.unwrap();
    let counted =
        [counts.repositories, counts.manifests, counts.tags, counts.blobs, counts.queued, counts.removals];
    let tables =
        ["repositories", "repository_manifests", "tags", "blobs", "collection_queue", "blob_removals"];
    assert_eq!(counted, tables.map(rows), "{tables:?}");
}

/// How the child dies.
enum Death {
    /// Killed, so long after its start: it may still be opening the database.
    AfterStart(Duration),
    /// Killed, so long after its first acknowledgement.
    AfterFirstWrite(Duration),
    /// Aborts when it reaches a failpoint for the so-manieth time, counted from 0.
    At(&'static str, usize),
}

/// Longest a child may take to its first acknowledgement on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs the child until it dies and gives the last number each writer acknowledged.
fn run_and_kill(database: &Path, from: usize, death: &Death) -> [Option<usize>; WRITERS] {
    let mut variables = vec![(FROM, from.to_string())];
    if let Death::At(point, after) = death {
        variables.extend([(DIE_AT, (*point).to_owned()), (DIE_AFTER, after.to_string())]);
    }
    let mut child = child::start("crash::child_writes_until_it_is_killed", database, &variables);
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (acknowledged, first) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut last = [None; WRITERS];
        for line in lines.map_while(Result::ok) {
            if let Some((writer, number)) = line.strip_prefix("ack ").and_then(|ack| ack.split_once(' ')) {
                last[writer.parse::<usize>().unwrap()] = Some(number.parse().unwrap());
                // Only the first is waited for.
                let _ = acknowledged.send(());
            } else {
                eprintln!("child: {line}");
            }
        }
        last
    });
    match death {
        Death::AfterStart(time) => std::thread::sleep(*time),
        Death::AfterFirstWrite(time) => {
            first.recv_timeout(PATIENCE).expect("the child writes");
            std::thread::sleep(*time);
        }
        Death::At(..) => {}
    }
    if !matches!(death, Death::At(..)) {
        child.kill().unwrap();
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child ended by itself");
    reader.join().unwrap()
}

/// Checks what is in the database after `from`; gives the number to go on with.
async fn check(database: &Path, from: usize, acknowledged: &[Option<usize>; WRITERS]) -> usize {
    let store = SqliteMetadata::open(database).unwrap();
    check_totals(&store).await;
    collect_all(&store).await;
    check_totals(&store).await;
    let mut highest = from;
    for (writer, last) in acknowledged.iter().enumerate() {
        let here = repository_of(writer);
        let next = last.map_or(from, |last| last + 1);
        for number in from..=next {
            check_image(&store, &here, number, number < next).await;
        }
        highest = highest.max(next + 1);
    }
    store.close().await;
    highest
}

/// `sure`: its push was acknowledged. Otherwise it may be there, but only whole.
async fn check_image(store: &SqliteMetadata, here: &RepositoryName, number: usize, sure: bool) {
    let blobs = ["config", "layer"].map(|part| samples::blob(&format!("{part} of {number}")));
    let expected = samples::manifest(here, &samples::image_json(&blobs), &[]);
    let by_digest = store.manifest(here, &expected.digest.into()).await.unwrap();
    let tag = samples::tag(&format!("t{number}"));
    let by_tag = store.manifest(here, &tag.clone().into()).await.unwrap();
    assert_eq!(
        by_digest, by_tag,
        "{here} {number}: a manifest without its tag, or a tag without its manifest"
    );
    if sure {
        assert_eq!(
            by_digest.is_some(),
            !is_deleted(number),
            "{here} {number}: an acknowledged write is lost"
        );
    }
    if let Some(found) = by_digest {
        assert_eq!(found.bytes, expected.bytes);
        for blob in blobs {
            assert_eq!(samples::linked_blob(store, here, &blob.digest).await, Some(blob));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("metadata.db");
    let mut from = 0;
    let after_start = [0, 15, 40].map(|milliseconds| Death::AfterStart(Duration::from_millis(milliseconds)));
    let after_write =
        [0, 30, 90, 170, 300].map(|milliseconds| Death::AfterFirstWrite(Duration::from_millis(milliseconds)));
    for death in after_start.iter().chain(&after_write) {
        let last = run_and_kill(&database, from, death);
        from = check(&database, from, &last).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_around_a_commit_loses_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("metadata.db");
    let mut from = 0;
    for point in ["metadata-before-commit", "metadata-after-commit"] {
        for after in [0, 7, 31] {
            let last = run_and_kill(&database, from, &Death::At(point, after));
            from = check(&database, from, &last).await;
        }
    }
}

#[tokio::test]
#[ignore = "started by another test in a process of its own"]
async fn child_meets_a_failing_commit() {
    let _scenario = fail::FailScenario::setup();
    let store = SqliteMetadata::open(&child::database()).unwrap();
    let here = samples::repository("team/app");
    let old = samples::pushed_image(&store, &here, "old", &["latest"]).await;
    let new = samples::linked_image(&store, &here, "new", &["latest"]).await;
    let latest = samples::tag("latest").into();
    let digest = async || store.manifest(&here, &latest).await.unwrap().unwrap().digest;
    assert_eq!(digest().await, old.digest);
    fail::cfg("metadata-before-commit", "1*return(the disk caught fire)->off").unwrap();
    let refused = store.put_manifest(new.clone(), Change::now()).await.unwrap_err();
    assert!(
        matches!(&refused, MetadataError::Unavailable { reason } if reason.contains("fire")),
        "{refused}"
    );
    assert_eq!(digest().await, old.digest);
    assert_eq!(store.manifest(&here, &new.digest.into()).await.unwrap(), None);
    store.put_manifest(new.clone(), Change::now()).await.unwrap();
    assert_eq!(digest().await, new.digest);

    // Whoever asks between the commit and its acknowledgement may see either, and is never answered from a
    // cache that the commit has overtaken.
    fail::cfg("metadata-after-commit", "1*sleep(300)->off").unwrap();
    let (writer, again) = (store.clone(), old.clone());
    let moving = tokio::spawn(async move { writer.put_manifest(again, Change::now()).await });
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(!moving.is_finished());
    assert_eq!(digest().await, old.digest, "the commit is there, the cache still says otherwise");
    moving.await.unwrap().unwrap();
    assert_eq!(digest().await, old.digest);
}

#[test]
fn a_failing_commit_is_told_and_leaves_the_old_state() {
    let folder = tempfile::tempdir().unwrap();
    let child = child::start("crash::child_meets_a_failing_commit", &folder.path().join("metadata.db"), &[]);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn upload_sessions_survive_without_being_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metadata.db");
    let here = samples::repository("team/app");
    let mut hasher = DigestHasher::new(Algorithm::Sha512);
    let now = OffsetDateTime::now_utc();
    let record = registry_metadata::UploadRecord {
        id: UploadId::random(),
        repository: here.clone(),
        started_at: now,
        touched_at: now,
        progress: hasher.save().into(),
        writer: 0,
    };
    let store = Arc::new(SqliteMetadata::open(&path).unwrap());
    store.create_upload(&record).await.unwrap();
    hasher.update(b"durable");
    assert!(store.save_progress(&record.id, 0, &hasher.save().into(), now).await.unwrap());
    // What a crash leaves: database and log as they are, copied while nobody writes.
    let copy = tempfile::tempdir().unwrap();
    for name in ["metadata.db", "metadata.db-wal"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let reopened = SqliteMetadata::open(&copy.path().join("metadata.db")).unwrap();
    assert_eq!(reopened.upload(&here, &record.id).await.unwrap().unwrap().progress, hasher.save().into());
}
