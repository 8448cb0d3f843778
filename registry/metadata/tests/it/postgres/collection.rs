//! Collection on several replicas while others push.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use registry_metadata::{
    BlobMetadata, Change, CollectPolicy, CollectionMetadata, ManifestMetadata, MetadataError, NewManifest,
    PolicyMetadata, PostgresMetadata, TestCluster, suite::samples,
};
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::connect;

/// A change without a lease: what it links may be collected at once.
fn unleased() -> Change {
    Change { lease: Duration::ZERO, ..Change::now() }
}

/// Pushes until no collection came between a blob and its manifest.
async fn push(store: &PostgresMetadata, image: &NewManifest, number: usize) -> usize {
    let mut lost = 0;
    loop {
        for name in ["shared by all".to_owned(), format!("layer {number}")] {
            store.link_blob(&image.repository, &samples::blob(&name), None, unleased()).await.unwrap();
        }
        match store.put_manifest(image.clone(), unleased()).await {
            Ok(()) => return lost,
            Err(MetadataError::MissingBlobs { .. }) => lost += 1,
            Err(other) => panic!("image {number}: {other}"),
        }
    }
}

fn image(repository: usize, number: usize) -> NewManifest {
    let blobs = [samples::blob("shared by all"), samples::blob(&format!("layer {number}"))];
    let here = samples::repository(&format!("team/app{repository}"));
    samples::manifest(&here, &samples::image_json(&blobs), &[&format!("t{number}")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn collectors_take_nothing_from_under_a_push_and_leave_nothing_behind() {
    const PUSHERS: usize = 4;
    const IMAGES: usize = 25;
    let Some(cluster) = TestCluster::shared_blocking() else { return };
    let database = cluster.database_blocking();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(connect(&database.url()).await);
    }
    // Quotas make collectors and pushers meet at one more row.
    replicas[0].set_quota(&samples::parse("team"), 1 << 40).await.unwrap();
    let policy = CollectPolicy { untagged_after: Some(Duration::ZERO), ..CollectPolicy::default() };
    let (over, collected) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut collectors = JoinSet::new();
    for store in &replicas {
        let (store, over, collected) = (store.clone(), over.clone(), collected.clone());
        collectors.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let done = store.collect(&policy, OffsetDateTime::now_utc(), 50).await.unwrap();
                collected.fetch_add(done.removed.links as usize, Ordering::Relaxed);
            }
        });
    }
    let mut pushers = JoinSet::new();
    for pusher in 0..PUSHERS {
        let store = replicas[pusher % replicas.len()].clone();
        pushers.spawn(async move {
            for number in 0..IMAGES {
                // Two pushers in each repository, with the same blobs.
                let image = image(pusher % 2, number);
                push(&store, &image, number).await;
                if number % 2 == 0 {
                    store.delete_manifest(&image.repository, &image.digest, unleased()).await.unwrap();
                    push(&store, &image, number).await;
                }
                // Nobody deletes these again.
                for part in image.view.required_blobs().iter().filter(|_| number % 2 == 1) {
                    let found = store.blob(&image.repository, &part.digest).await.unwrap();
                    assert!(found.is_some(), "a blob went from under image {number}");
                }
            }
        });
    }
    pushers.join_all().await;
    over.store(true, Ordering::Relaxed);
    collectors.join_all().await;
    let store = &replicas[0];
    for (repository, number) in
        (0..2).flat_map(|repository| (0..IMAGES).map(move |number| (repository, number)))
    {
        let image = image(repository, number);
        let found = store.manifest(&image.repository, &samples::tag(&format!("t{number}")).into()).await;
        if found.unwrap().is_some() {
            for part in image.view.required_blobs() {
                let blob = store.blob(&image.repository, &part.digest).await.unwrap();
                assert!(blob.is_some(), "image {number} lost a blob");
            }
        }
        store.delete_manifest(&image.repository, &image.digest, unleased()).await.unwrap();
    }
    assert!(collected.load(Ordering::Relaxed) > 0, "the collectors never met anything");
    store.collect(&policy, OffsetDateTime::now_utc(), 10_000).await.unwrap();
    let left = "SELECT (SELECT count(*) FROM blobs) + (SELECT count(*) FROM repository_blobs)
        + (SELECT count(*) FROM manifests) + (SELECT count(*) FROM manifest_references)
        + (SELECT count(*) FROM repository_references) + (SELECT count(*) FROM collection_queue)
        + (SELECT count(*) FROM quota_blobs) + (SELECT used_bytes FROM quotas)";
    assert_eq!(tokio::task::block_in_place(|| database.sql_blocking(left)).trim(), "0");
    // The order of locks holds: nobody waited in a circle.
    let circles = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(tokio::task::block_in_place(|| database.sql_blocking(circles)).trim(), "0");
}
