//! Copies of the whole store while others write.

use std::{
    os::unix::fs::PermissionsExt,
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
};

use registry_metadata::{
    Change, EventMetadata, ManifestMetadata, MetadataError, NewEvent, OperationMetadata, SqliteMetadata,
    suite::samples, summarize,
};
use time::OffsetDateTime;

use super::{own_store, store};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_is_one_moment_and_serves_by_itself() {
    let Some((store, _database)) = store().await else { return };
    let here = samples::repository("team/app");
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, here, over) = (store.clone(), here.clone(), over.clone());
        async move {
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                samples::pushed_image(&store, &here, &number.to_string(), &["latest", "also"]).await;
                number += 1;
            }
            number
        }
    });
    let event = NewEvent { repository: here.clone(), payload: "{}".to_owned() };
    store.record_events(vec![event], OffsetDateTime::now_utc()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for turn in 0..3 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let path = folder.path().join(format!("copy{turn}.db"));
        let length = store.backup_to(&path).await.unwrap();
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (length, 0o600));
        let copy = SqliteMetadata::open(&path).unwrap();
        let mut tagged = Vec::new();
        for tag in ["latest", "also"] {
            tagged.push(copy.manifest(&here, &samples::tag(tag).into()).await.unwrap());
        }
        assert_eq!(tagged[0], tagged[1], "a push was torn apart");
        assert_eq!(
            copy.events_after(0, 10).await.unwrap().len(),
            1,
            "an event that waited is not in the copy"
        );
        samples::pushed_image(&copy, &here, "served from the copy", &["latest"]).await;
        let there = store.backup_to(&path).await.unwrap_err();
        assert!(matches!(there, MetadataError::AlreadyExists { .. }), "{there}");
    }
    over.store(true, Ordering::Relaxed);
    assert!(writer.await.unwrap() > 3, "nothing was written meanwhile");
    // Of a store at rest the copy holds exactly the same.
    store.events_after(0, 1).await.unwrap();
    let path = folder.path().join("last.db");
    store.backup_to(&path).await.unwrap();
    let copy = SqliteMetadata::open(&path).unwrap();
    assert_eq!(summarize(&copy).await.unwrap(), summarize(&store).await.unwrap());
    store.delete_tag(&here, &samples::tag("also"), Change::now()).await.unwrap();
    assert_ne!(summarize(&copy).await.unwrap(), summarize(&store).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_leaves_nothing() {
    let Some((store, database)) = own_store().await else { return };
    samples::pushed_image(&store, &samples::repository("team/app"), "a", &["latest"]).await;
    tokio::task::block_in_place(|| database.sql_blocking("ALTER TABLE tags RENAME TO labels"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.db");
    assert!(store.backup_to(&path).await.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
