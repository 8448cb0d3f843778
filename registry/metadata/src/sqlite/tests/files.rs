//! Opening, closing, and standing beside a server.

use std::fs;

use rusqlite::Connection;

use super::{Hold, is_there, opened, pushed};
use crate::{
    AccountMetadata, BlobMetadata, Change, HealthMetadata, ListingMetadata, ManifestMetadata, MetadataError,
    PageRequest,
    sqlite::SqliteMetadata,
    suite::samples::{blob, parse, repository, tag},
};

#[tokio::test]
async fn closing_leaves_everything_in_one_file() {
    let (store, folder) = opened();
    pushed(&store, "v1").await;
    let clone = store.clone();
    store.close().await;
    assert!(!folder.path().join("metadata.db-wal").exists(), "the log is still there");
    for answer in
        [clone.ping().await, clone.tags(&repository("team/app"), &PageRequest::default()).await.map(drop)]
    {
        assert!(matches!(answer, Err(MetadataError::Unavailable { reason }) if reason.contains("closed")));
    }
    clone.close().await;
    let copy = folder.path().join("copy.db");
    fs::copy(folder.path().join("metadata.db"), &copy).unwrap();
    assert!(is_there(&SqliteMetadata::open(&copy).unwrap(), "v1").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_finishes_what_is_queued() {
    let (store, folder) = opened();
    pushed(&store, "v1").await;
    let hold = Hold::begin(&store).await;
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        writer.link_blob(&repository("team/app"), &blob("queued"), None, Change::now()).await
    });
    while store.inner.writer.queued() < 1 {
        tokio::task::yield_now().await;
    }
    // Its caller is gone, the write stands in the queue.
    writing.abort();
    hold.end_when_queued(&store, 1).await;
    drop(store);
    let store = SqliteMetadata::open(&folder.path().join("metadata.db")).unwrap();
    assert!(store.blob(&repository("team/app"), &blob("queued").digest).await.unwrap().is_some());
    assert!(is_there(&store, "v1").await);
}

#[tokio::test]
async fn a_newer_schema_and_other_files_are_refused() {
    let (store, folder) = opened();
    store.close().await;
    let path = folder.path().join("metadata.db");
    Connection::open(&path).unwrap().execute("UPDATE schema_version SET version = 7", []).unwrap();
    for answer in [SqliteMetadata::open(&path), SqliteMetadata::open_beside_server_blocking(&path)] {
        let error = answer.unwrap_err().to_string();
        assert!(error.contains("version 7") && error.contains("newer program"), "{error}");
    }
    let text = folder.path().join("text");
    fs::write(&text, "not a database, but long enough to look at: ".repeat(100)).unwrap();
    let error = SqliteMetadata::open(&text).unwrap_err();
    assert!(matches!(error, MetadataError::Damaged { .. }), "{error}");
    assert_eq!(fs::read_to_string(&text).unwrap().len(), 4_400, "the file was changed");
    let error = SqliteMetadata::open(&folder.path().join("none/metadata.db")).unwrap_err();
    assert!(matches!(error, MetadataError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn beside_a_server_only_accounts_and_rules_are_changed() {
    let (server, folder) = opened();
    let path = folder.path().join("metadata.db");
    let missing = SqliteMetadata::open_beside_server_blocking(&folder.path().join("none.db")).unwrap_err();
    assert!(matches!(missing, MetadataError::Unavailable { .. }), "{missing}");
    assert!(!folder.path().join("none.db").exists());

    let image = pushed(&server, "v1").await;
    let beside = SqliteMetadata::open_beside_server_blocking(&path).unwrap();
    assert!(is_there(&beside, "v1").await);
    // Nothing is remembered there, so the server's writes are seen.
    server.delete_tag(&repository("team/app"), &tag("v1"), Change::now()).await.unwrap();
    assert!(!is_there(&beside, "v1").await);
    for answer in [
        beside.put_manifest(image, Change::now()).await,
        beside.link_blob(&repository("team/app"), &blob("new"), None, Change::now()).await.map(drop),
        beside.delete_tag(&repository("team/app"), &tag("v1"), Change::now()).await.map(drop),
    ] {
        assert!(matches!(answer, Err(MetadataError::Unavailable { reason }) if reason.contains("beside")));
    }
    let rule = registry_types::AccessRule {
        subject: parse("everyone"),
        pattern: parse("**"),
        actions: parse("pull"),
    };
    assert!(server.rules().await.unwrap().is_empty());
    let record = beside.add_rule(&rule).await.unwrap();
    assert_eq!(*server.rules().await.unwrap(), std::slice::from_ref(&record).to_vec());
    assert!(server.delete_rule(record.id).await.unwrap());
    assert!(beside.rules().await.unwrap().is_empty());
    beside.close().await;
    server.ping().await.unwrap();
}
