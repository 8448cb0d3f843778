//! Full disks, read-only files and commits that fail: a clear answer, nothing half-written, and service again
//! when the cause is gone.

use rusqlite::Connection;
use serde_json::json;

use super::{Hold, is_there, opened, pushed, rows};
use crate::{
    BlobMetadata, Change, HealthMetadata, ManifestMetadata, MetadataError,
    sqlite::SqliteMetadata,
    suite::samples::{blob, image_json, linked_image, manifest, repository},
};

/// Runs statements on the writer's own connection.
async fn on_writer(store: &SqliteMetadata, statements: &'static str) -> Result<(), MetadataError> {
    store.inner.writer.write(0, move |connection, _| Ok(connection.execute_batch(statements)?)).await
}

fn reason<T: std::fmt::Debug>(answer: Result<T, MetadataError>) -> String {
    match answer {
        Err(MetadataError::Unavailable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_loses_nothing() {
    let (store, folder) = opened();
    let image = pushed(&store, "before").await;
    // As large as it is now; a smaller number than its pages means that to SQLite.
    on_writer(&store, "PRAGMA max_page_count = 1").await.unwrap();
    let here = repository("team/app");
    let mut large = image_json(&[blob("config of before"), blob("layer of before")]);
    large["annotations"] = json!({ "large": "x".repeat(1 << 20) });
    let large = manifest(&here, &large, &["large", "before"]);
    let answer = store.put_manifest(large.clone(), Change::now()).await;
    assert!(matches!(answer, Err(MetadataError::Full)), "{answer:?}");
    assert!(!is_there(&store, "large").await);
    assert_eq!(rows(&store, "manifests").await, 1);
    let found = store.manifest(&here, &crate::suite::samples::tag("before").into()).await.unwrap().unwrap();
    assert_eq!(found.digest, image.digest, "half of a refused push is there");
    // The log's room is free to be used again: the database has what stood in it.
    let copy = folder.path().join("without the log.db");
    std::fs::copy(folder.path().join("metadata.db"), &copy).unwrap();
    let copied =
        Connection::open(&copy).unwrap().query_row("SELECT count(*) FROM manifests", [], |row| row.get(0));
    assert_eq!(copied, Ok(1));

    on_writer(&store, "PRAGMA max_page_count = 1000000").await.unwrap();
    store.put_manifest(large, Change::now()).await.unwrap();
    assert!(is_there(&store, "large").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_written_says_so_and_serves_reads() {
    let (store, _folder) = opened();
    pushed(&store, "before").await;
    on_writer(&store, "PRAGMA query_only = 1").await.unwrap();
    assert!(reason(store.ping().await).contains("cannot be written"));
    assert!(
        reason(store.link_blob(&repository("team/app"), &blob("new"), None, Change::now()).await)
            .contains("read-only")
    );
    assert!(is_there(&store, "before").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_undoes_its_whole_batch_and_only_that() {
    let (store, _folder) = opened();
    let here = repository("team/app");
    let image = pushed(&store, "before").await;
    let moved = linked_image(&store, &here, "moved", &["before"]).await;
    assert!(is_there(&store, "before").await);
    // Both stand in one batch; the first breaks a foreign key, which only the commit finds out.
    let hold = Hold::begin(&store).await;
    let (breaker, mover) = (store.clone(), store.clone());
    let breaking = tokio::spawn(async move {
        on_writer(
            &breaker,
            "PRAGMA defer_foreign_keys = 1;
             INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES (1, 'broken', 999, 0)",
        )
        .await
    });
    let new = moved.clone();
    let moving = tokio::spawn(async move { mover.put_manifest(new, Change::now()).await });
    hold.end_when_queued(&store, 2).await;
    for answer in [breaking.await.unwrap(), moving.await.unwrap()] {
        assert!(reason(answer).contains("FOREIGN KEY"));
    }
    let latest = crate::suite::samples::tag("before").into();
    let digest = async || store.manifest(&here, &latest).await.unwrap().unwrap().digest;
    assert_eq!(digest().await, image.digest);
    assert!(!is_there(&store, "broken").await);
    store.put_manifest(moved.clone(), Change::now()).await.unwrap();
    assert_eq!(digest().await, moved.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_row_is_an_error_and_no_value() {
    let (store, folder) = opened();
    pushed(&store, "v1").await;
    let other = Connection::open(folder.path().join("metadata.db")).unwrap();
    other.execute("UPDATE manifests SET media_type = 'no type'", []).unwrap();
    let answer =
        store.manifest(&repository("team/app"), &crate::suite::samples::tag("v1").into()).await.unwrap_err();
    assert!(matches!(&answer, MetadataError::Damaged { reason } if reason.contains("no type")), "{answer}");
}
