//! Backups while the store is written to.

use std::os::unix::fs::PermissionsExt;

use tokio::task::JoinSet;

use super::{is_there, opened, pushed};
use crate::{
    BlobMetadata, Change, ListingMetadata, ManifestMetadata, MetadataError, OperationMetadata,
    sqlite::SqliteMetadata,
    suite::samples::{blob, page, pushed_image, repository, tag},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_writes_is_whole() {
    let (store, folder) = opened();
    pushed(&store, "before").await;
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = store.clone();
        writers.spawn(async move {
            let here = repository(&format!("team/writer{writer}"));
            for number in 0.. {
                pushed_image(&store, &here, &format!("{writer} {number}"), &[&format!("t{number}")]).await;
            }
        });
    }
    let copies = [1, 2, 3].map(|number| folder.path().join(format!("backup{number}.db")));
    for copy in &copies {
        let length = store.backup_to(copy).await.unwrap();
        assert_eq!(length, std::fs::metadata(copy).unwrap().len());
        assert_eq!(std::fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let last = store.tags(&repository("team/writer0"), &page(None, 100_000)).await.unwrap();
    writers.shutdown().await;
    store.close().await;
    let mut sizes = Vec::new();
    for copy in &copies {
        let copy = SqliteMetadata::open(copy).unwrap();
        assert!(is_there(&copy, "before").await);
        let mut tags = 0;
        for writer in 0..4 {
            let here = repository(&format!("team/writer{writer}"));
            // Each tag with its manifest, and that with its blobs: the copy is of one moment.
            for name in
                copy.tags(&here, &page(None, 100_000)).await.unwrap().map_or(Vec::new(), |page| page.entries)
            {
                let image = copy.manifest(&here, &name.clone().into()).await.unwrap();
                assert!(image.is_some(), "{name}");
                let layer = blob(&format!("layer of {writer} {}", &name.as_str()[1..]));
                assert!(copy.blob(&here, &layer.digest).await.unwrap().is_some(), "{name}");
                tags += 1;
            }
        }
        pushed_image(&copy, &repository("team/app"), "after", &["after"]).await;
        sizes.push(tags);
        copy.close().await;
    }
    assert!(sizes.is_sorted() && last.is_some(), "a later backup holds less: {sizes:?}");
}

#[tokio::test]
async fn a_backup_never_replaces_a_file_and_leaves_no_half() {
    let (store, folder) = opened();
    pushed(&store, "before").await;
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "mine").unwrap();
    let refused = store.backup_to(&taken).await.unwrap_err();
    assert!(matches!(&refused, MetadataError::AlreadyExists { what } if what.contains("taken")), "{refused}");
    assert_eq!(std::fs::read(&taken).unwrap(), b"mine");
    let nowhere = store.backup_to(&folder.path().join("none/backup.db")).await.unwrap_err();
    assert!(matches!(&nowhere, MetadataError::Unavailable { reason } if reason.contains("none/backup.db")));
    // A database that is gone cannot be copied.
    std::fs::rename(folder.path().join("metadata.db"), folder.path().join("elsewhere")).unwrap();
    let half = folder.path().join("half");
    assert!(store.backup_to(&half).await.is_err());
    assert!(!half.exists());
    std::fs::rename(folder.path().join("elsewhere"), folder.path().join("metadata.db")).unwrap();
    store.delete_tag(&repository("team/app"), &tag("before"), Change::now()).await.unwrap();
    assert!(store.backup_to(&half).await.unwrap() > 0);
}
