//! Group commit, the cache in front, and rows that several repositories share.

use std::{
    pin::pin,
    sync::mpsc,
    task::{Context, Poll, Waker},
};

use rusqlite::Connection;
use time::OffsetDateTime;
use tokio::{sync::oneshot, task::JoinSet};

use super::{Hold, opened, pushed, rows};
use crate::{
    BlobMetadata, Change, ManifestMetadata, MetadataError,
    sqlite::{SqliteMetadata, columns::TimeColumn, repositories},
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
                let committed: i64 =
                    Connection::open(&path)?
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
    // Nobody but the cache can answer while the readers are held.
    let at_once = async || {
        let holds = [hold_reader(&store).await, hold_reader(&store).await];
        let mut context = Context::from_waker(Waker::noop());
        let manifest = pin!(store.manifest(&here, &reference)).poll(&mut context);
        let blob = pin!(store.blob(&here, &layer)).poll(&mut context);
        drop(holds);
        (matches!(manifest, Poll::Ready(Ok(Some(_)))), matches!(blob, Poll::Ready(Ok(Some(_)))))
    };
    assert_eq!(at_once().await, (false, false));
    store.manifest(&here, &reference).await.unwrap();
    store.blob(&here, &layer).await.unwrap();
    assert_eq!(at_once().await, (true, true));
    store.delete_tag(&here, &tag("v1"), Change::now()).await.unwrap();
    store.unlink_blob(&here, &layer, Change::now()).await.unwrap();
    assert_eq!(at_once().await, (false, false));
}

/// Keeps one reader's thread until the result is dropped.
async fn hold_reader(store: &SqliteMetadata) -> mpsc::Sender<()> {
    let (hold, held) = mpsc::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let store = store.clone();
    tokio::spawn(async move {
        let query = move |_: &Connection| {
            let _ = begun.send(());
            let _ = held.recv();
            Ok(())
        };
        store.inner.readers.read(query).await
    });
    has_begun.await.unwrap();
    hold
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_write_undoes_itself_and_nothing_else() {
    let (store, _folder) = opened();
    let hold = Hold::begin(&store).await;
    let mut tasks = JoinSet::new();
    for number in 0..9 {
        let store = store.clone();
        tasks.spawn(async move {
            let work = move |connection: &Connection, _: &mut _| {
                let name = repository(&format!("team/{number}"));
                repositories::find_or_create(connection, &name, TimeColumn::now())?;
                if number % 3 == 0 {
                    return Err(MetadataError::AlreadyExists { what: number.to_string() });
                }
                Ok(())
            };
            let answer = store.inner.writer.write(0, work).await;
            match answer {
                Ok(()) => assert!(number % 3 != 0),
                Err(MetadataError::AlreadyExists { what }) => assert_eq!(what, number.to_string()),
                Err(other) => panic!("{other}"),
            }
        });
    }
    hold.end_when_queued(&store, 9).await;
    tasks.join_all().await;
    assert_eq!(rows(&store, "repositories").await, 6);
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
    store.delete_manifest(&here, &image.digest, Change::now()).await.unwrap();
    assert_eq!(rows(&store, "manifests").await, 1);
    store.delete_manifest(&there, &image.digest, Change::now()).await.unwrap();
    assert_eq!(rows(&store, "manifests").await, 0);
    assert_eq!(rows(&store, "manifest_references").await, 0);
    assert_eq!(rows(&store, "blobs").await, 2, "blobs are collected later, after their lease");
}

#[tokio::test]
async fn linking_and_mounting_renew_the_lease() {
    let (store, _folder) = opened();
    let (here, there) = (repository("team/app"), repository("team/copy"));
    let blob = blob("content");
    store.link_blob(&here, &blob, None, Change::now()).await.unwrap();
    let lease = async || {
        let lease = store.inner.readers.read(|connection| {
            Ok(connection
                .query_row("SELECT leased_until FROM blobs", [], |row| row.get(0).map(|TimeColumn(t)| t))?)
        });
        lease.await.unwrap()
    };
    let first: OffsetDateTime = lease().await;
    assert!(first > OffsetDateTime::now_utc() + time::Duration::hours(23));
    store.mount_blob(Some(&here), &there, &blob.digest, Change::now()).await.unwrap();
    assert!(lease().await > first);
}
