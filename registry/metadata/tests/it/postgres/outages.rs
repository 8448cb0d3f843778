//! The database goes away in the middle of work and comes back.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use registry_metadata::{
    AccountMetadata, BlobMetadata, Change, HealthMetadata, ManifestMetadata, MetadataError, NewBlob,
    NewEvent, NewManifest, PostgresMetadata, TestCluster, UploadMetadata, UploadRecord, suite::samples,
};
use registry_types::{Algorithm, DigestHasher, UploadId};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::{connect, proxy::Proxy, store};

/// Writers at once.
const WRITERS: usize = 4;

/// Writers that push image after image and note what was acknowledged, until told to end.
struct Stream {
    over: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(usize, usize)>>>,
    writers: JoinSet<()>,
}

impl Stream {
    /// `forgiving`: a write may be refused because the database is away.
    fn start(store: &PostgresMetadata, forgiving: bool) -> Self {
        let (over, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (store, over, acknowledged) = (store.clone(), over.clone(), acknowledged.clone());
            writers.spawn(async move {
                for number in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    match push(&store, writer, number).await {
                        Ok(()) => acknowledged.lock().unwrap().push((writer, number)),
                        Err(MetadataError::Unavailable { .. }) if forgiving => {}
                        Err(other) => panic!("image {number} of writer {writer}: {other}"),
                    }
                }
            });
        }
        Self { over, acknowledged, writers }
    }

    fn acknowledged(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Ends the writers and finds everything they were told was stored.
    async fn end_and_check(self, store: &PostgresMetadata) {
        self.over.store(true, Ordering::Relaxed);
        self.writers.join_all().await;
        let acknowledged = std::mem::take(&mut *self.acknowledged.lock().unwrap());
        for (writer, number) in acknowledged {
            let (here, tag) = (repository_of(writer), samples::tag(&format!("t{number}")));
            let found = store.manifest(&here, &tag.into()).await.unwrap();
            let found = found.unwrap_or_else(|| panic!("image {number} of writer {writer} is lost"));
            assert_eq!(found.digest, image_of(writer, number).digest);
        }
    }
}

fn repository_of(writer: usize) -> registry_types::RepositoryName {
    samples::repository(&format!("team/writer{writer}"))
}

fn blobs_of(number: usize) -> [NewBlob; 2] {
    [samples::blob(&format!("config {number}")), samples::blob(&format!("layer {number}"))]
}

fn image_of(writer: usize, number: usize) -> NewManifest {
    let tags = ["latest", &format!("t{number}")];
    samples::manifest(&repository_of(writer), &samples::image_json(&blobs_of(number)), &tags)
}

async fn push(store: &PostgresMetadata, writer: usize, number: usize) -> Result<(), MetadataError> {
    for blob in blobs_of(number) {
        store.link_blob(&repository_of(writer), &blob, None, Change::now()).await?;
    }
    store.put_manifest(image_of(writer, number), Change::now()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crashes_of_the_server_under_a_stream_of_writes_lose_nothing() {
    let Some(cluster) = TestCluster::start_blocking() else { return };
    let database = cluster.database_blocking();
    let store = connect(&database.url()).await;
    let stream = Stream::start(&store, true);
    for _ in 0..3 {
        let before = stream.acknowledged();
        tokio::time::sleep(Duration::from_millis(400)).await;
        tokio::task::block_in_place(|| {
            cluster.crash_blocking();
            cluster.up_blocking();
        });
        let deadline = Instant::now() + Duration::from_secs(20);
        while stream.acknowledged() < before + WRITERS * 4 {
            assert!(Instant::now() < deadline, "the writers do not go on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stream.end_and_check(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn terminated_connections_cost_no_write() {
    let Some((store, database)) = store().await else { return };
    let stream = Stream::start(&store, false);
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        tokio::task::block_in_place(|| database.terminate_blocking());
    }
    stream.end_and_check(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_write_whose_commit_got_no_answer_takes_effect_once() {
    const RULES: usize = 12;
    let Some(cluster) = TestCluster::shared_blocking() else { return };
    let database = cluster.database_blocking();
    let proxy = Proxy::start(cluster.port()).await;
    let url = database.url();
    let through = url.replace(&format!(":{}/", cluster.port()), &format!(":{}/", proxy.port));
    assert_ne!(url, through);
    let (direct, store) = (connect(&url).await, connect(&through).await);

    let mut added = Vec::new();
    for number in 0..RULES {
        let rule = registry_types::AccessRule {
            subject: samples::parse("everyone"),
            pattern: samples::parse(&format!("team{number}/**")),
            actions: samples::parse("pull"),
        };
        added.push(store.add_rule(&rule).await.unwrap());
    }
    assert_eq!(*direct.rules().await.unwrap(), added, "a rule was added twice or not at all");
    for rule in &added {
        assert!(
            store.delete_rule(rule.id).await.unwrap(),
            "it was removed, and the answer says it was not there"
        );
    }
    assert!(direct.rules().await.unwrap().is_empty());
    for _ in 0..RULES {
        let now = OffsetDateTime::now_utc();
        let session = UploadRecord {
            id: UploadId::random(),
            repository: samples::repository("team/app"),
            started_at: now,
            touched_at: now,
            progress: DigestHasher::new(Algorithm::Sha256).save().into(),
            writer: 0,
        };
        store.create_upload(&session).await.unwrap();
        assert!(direct.upload_exists(&session.id).await.unwrap());
    }
    for number in 0..RULES {
        let image = image_of(0, number);
        let event = NewEvent { repository: image.repository.clone(), payload: format!("push {number}") };
        for blob in blobs_of(number) {
            store.link_blob(&image.repository, &blob, None, Change::now()).await.unwrap();
        }
        let change = Change { events: vec![event.clone()], ..Change::now() };
        store.put_manifest(image.clone(), change).await.unwrap();
        let change = Change { events: vec![event], ..Change::now() };
        assert!(store.delete_manifest(&image.repository, &image.digest, change).await.unwrap());
    }
    let told = "SELECT count(*), count(DISTINCT payload) FROM event_inbox";
    let told = tokio::task::block_in_place(|| database.sql_blocking(told));
    assert_eq!(told.trim(), format!("{}|{RULES}", RULES * 2), "an event was told twice or not at all");
    assert!(proxy.commits() > RULES * 7, "the proxy saw no COMMIT to cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readiness_follows_the_database() {
    let Some(cluster) = TestCluster::start_blocking() else { return };
    let database = cluster.database_blocking();
    let store = connect(&database.url()).await;
    store.ping().await.unwrap();
    tokio::task::block_in_place(|| cluster.stop_blocking());
    let asked = Instant::now();
    let refused = store.ping().await.unwrap_err();
    assert!(matches!(refused, MetadataError::Unavailable { .. }), "{refused}");
    assert!(asked.elapsed() < Duration::from_secs(3), "readiness took {:?} to say no", asked.elapsed());
    tokio::task::block_in_place(|| cluster.up_blocking());
    store.ping().await.unwrap();
}

/// A client that hangs up drops its request at any point.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn abandoned_writes_leave_no_transaction_open() {
    let Some((store, database)) = store().await else { return };
    for number in 0..60 {
        let (store, pause) = (store.clone(), Duration::from_micros(number * 150));
        let abandoned = tokio::spawn(async move { push(&store, 0, number as usize).await });
        tokio::time::sleep(pause).await;
        abandoned.abort();
    }
    // Every slot is free again, and each can write.
    let mut writers = JoinSet::new();
    for writer in 0..32 {
        let store = store.clone();
        writers.spawn(async move { push(&store, writer, 1_000).await.unwrap() });
    }
    writers.join_all().await;
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    let deadline = Instant::now() + Duration::from_secs(5);
    while tokio::task::block_in_place(|| database.sql_blocking(open)).trim() != "0" {
        assert!(Instant::now() < deadline, "a transaction stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_closed_store_refuses_and_has_no_connection() {
    let Some((store, database)) = store().await else { return };
    push(&store, 0, 0).await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(MetadataError::Unavailable { .. })));
    let sessions = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'slipway'";
    let deadline = Instant::now() + Duration::from_secs(5);
    while tokio::task::block_in_place(|| database.sql_blocking(sessions)).trim() != "0" {
        assert!(Instant::now() < deadline, "a connection stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
