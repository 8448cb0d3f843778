//! Several stores on one database.

use registry_metadata::{
    AccountMetadata, BlobMetadata, Change, ManifestMetadata, NewManifest, TestCluster, suite::samples,
};

use super::{connect, store};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_changes_the_others_see_at_once() {
    let Some((one, database)) = store().await else { return };
    let other = connect(&database.url()).await;
    let here = samples::repository("team/app");
    let mut images = Vec::new();
    for name in ["a", "b"] {
        images.push(samples::pushed_image(&one, &here, name, &["latest"]).await);
    }
    for turn in 0..20 {
        let image = &images[turn % 2];
        let tags = vec![samples::tag("latest")];
        one.put_manifest(NewManifest { tags, ..image.clone() }, Change::now()).await.unwrap();
        let seen = other.manifest(&here, &samples::tag("latest").into()).await.unwrap().unwrap();
        assert_eq!(seen.digest, image.digest, "turn {turn}");
        assert_eq!(seen.bytes, image.bytes);
    }
    // Bytes that both keep in memory are not answered once the manifest is gone.
    one.delete_manifest(&here, &images[0].digest, Change::now()).await.unwrap();
    assert!(other.manifest(&here, &images[0].digest.into()).await.unwrap().is_none());
    one.unlink_blob(&here, &images[1].view.layers[0].digest, Change::now()).await.unwrap();
    assert!(other.blob(&here, &images[1].view.layers[0].digest).await.unwrap().is_none());
    let rule = registry_types::AccessRule {
        subject: samples::parse("everyone"),
        pattern: samples::parse("**"),
        actions: samples::parse("pull"),
    };
    let added = one.add_rule(&rule).await.unwrap();
    assert_eq!(other.rules().await.unwrap().as_slice(), std::slice::from_ref(&added));
    assert!(other.delete_rule(added.id).await.unwrap());
    assert!(one.rules().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_from_memory_and_everything_else_from_the_database() {
    let Some((store, database)) = store().await else { return };
    let here = samples::repository("team/app");
    let image = samples::pushed_image(&store, &here, "a", &["latest"]).await;
    let by_tag = samples::tag("latest").into();
    assert_eq!(store.manifest(&here, &by_tag).await.unwrap().unwrap().bytes, image.bytes);
    // Bytes under a digest never change; that these were not read again shows where they came from.
    tokio::task::block_in_place(|| database.sql_blocking("UPDATE manifests SET bytes = ''"));
    for reference in [by_tag, image.digest.into()] {
        assert_eq!(store.manifest(&here, &reference).await.unwrap().unwrap().bytes, image.bytes);
    }
    let cold = connect(&database.url()).await;
    assert!(cold.manifest(&here, &image.digest.into()).await.unwrap().unwrap().bytes.is_empty());
}

/// Pushes of the same bytes to one repository and deletes of them from another meet at the manifest's row.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_manifest_stays_as_long_as_one_repository_has_it() {
    let Some(cluster) = TestCluster::shared_blocking() else { return };
    let database = cluster.database_blocking();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(connect(&database.url()).await);
    }
    let repositories = ["team/a", "team/b", "team/c"].map(samples::repository);
    let mut tasks = tokio::task::JoinSet::new();
    for (store, here) in replicas.iter().cloned().zip(repositories.clone()) {
        tasks.spawn(async move {
            for _ in 0..40 {
                let image = samples::pushed_image(&store, &here, "shared", &["latest"]).await;
                let found = store.manifest(&here, &image.digest.into()).await.unwrap();
                assert_eq!(found.expect("it was pushed and nobody else deletes it here").bytes, image.bytes);
                assert!(store.delete_manifest(&here, &image.digest, Change::now()).await.unwrap());
            }
        });
    }
    tasks.join_all().await;
    let left = "SELECT (SELECT count(*) FROM manifests) + (SELECT count(*) FROM manifest_references)";
    assert_eq!(tokio::task::block_in_place(|| database.sql_blocking(left)).trim(), "0");
}
