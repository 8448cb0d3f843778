//! Group commit, the cache in front, and rows that several repositories share.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use rusqlite::Connection;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::{Hold, opened, pushed, rows};
use crate::{
    Metadata,
    sqlite::{columns::TimeColumn, repositories},
    suite::samples::{blob, repository, tag},
};

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_share_one_transaction() {
    let (store, folder) = opened();
    let path = folder.path().join("metadata.db");
    let mut tasks = JoinSet::new();
    let hold = Hold::begin(&store).await;
    for number in 0..20 {
        let (store, path) = (store.clone(), path.clone());
        tasks.spawn(async move {
            let work = move |connection: &Connection, _: &mut _| {
                let name = repository(&format!("team/{number}"));
                repositories::find_or_create(connection, &name, TimeColumn::now())?;
                // Someone else sees nothing of the batch as long as it runs.
                let committed: i64 = Connection::open(&path)?
                    .query_row("SELECT count(*) FROM repositories", [], |row| row.get(0))?;
                Ok(committed)
            };
            assert_eq!(store.inner.writer.write(0, work).await.unwrap(), 0);
        });
    }
    hold.end_when_queued(&store, 20).await;
    tasks.join_all().await;
    assert_eq!(rows(&store, "repositories").await, 20);
}

#[tokio::test]
async fn what_is_cached_is_answered_without_waiting() {
    let (store, _folder) = opened();
    let image = pushed(&store, "v1").await;
    let here = repository("team/app");
    let layer = image.view.layers[0].digest;
    let reference = tag("v1").into();
    let at_once = |store: &super::SqliteMetadata| {
        let mut context = Context::from_waker(Waker::noop());
        let manifest = pin!(store.manifest(&here, &reference)).poll(&mut context);
        let blob = pin!(store.blob(&here, &layer)).poll(&mut context);
        (matches!(manifest, Poll::Ready(Ok(Some(_)))), matches!(blob, Poll::Ready(Ok(Some(_)))))
    };
    assert_eq!(at_once(&store), (false, false));
    store.manifest(&here, &reference).await.unwrap();
    store.blob(&here, &layer).await.unwrap();
    assert_eq!(at_once(&store), (true, true));
    store.delete_tag(&here, &tag("v1")).await.unwrap();
    store.unlink_blob(&here, &layer).await.unwrap();
    assert_eq!(at_once(&store), (false, false));
}

#[tokio::test]
async fn the_bytes_go_with_the_last_repository_that_links_them() {
    let (store, _folder) = opened();
    let (here, there) = (repository("team/app"), repository("team/copy"));
    let image = pushed(&store, "v1").await;
    let copy = crate::suite::samples::pushed_image(&store, &there, "v1", &[]).await;
    assert_eq!(copy.digest, image.digest);
    assert_eq!(rows(&store, "manifests").await, 1, "the same bytes are stored once");
    assert_eq!(rows(&store, "manifest_references").await, 2);
    store.delete_manifest(&here, &image.digest).await.unwrap();
    assert_eq!(rows(&store, "manifests").await, 1);
    store.delete_manifest(&there, &image.digest).await.unwrap();
    assert_eq!(rows(&store, "manifests").await, 0);
    assert_eq!(rows(&store, "manifest_references").await, 0);
    assert_eq!(rows(&store, "blobs").await, 2, "blobs are collected later, after their lease");
}

#[tokio::test]
async fn linking_and_mounting_renew_the_lease() {
    let (store, _folder) = opened();
    let (here, there) = (repository("team/app"), repository("team/copy"));
    let blob = blob("content");
    store.link_blob(&here, &blob, None).await.unwrap();
    let lease = async || {
        let lease = store.inner.readers.read(|connection| {
            Ok(connection.query_row("SELECT leased_until FROM blobs", [], |row| row.get(0).map(|TimeColumn(t)| t))?)
        });
        lease.await.unwrap()
    };
    let first: OffsetDateTime = lease().await;
    assert!(first > OffsetDateTime::now_utc() + time::Duration::hours(23));
    store.mount_blob(Some(&here), &there, &blob.digest).await.unwrap();
    assert!(lease().await > first);
}
