//! The schema's version, and who brings it forward.

use registry_metadata::{HealthMetadata, MetadataError, PostgresMetadata, PostgresOptions, TestCluster};

use super::{connect, own_store, try_connect};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_start_at_once_migrate_once() {
    let Some(cluster) = TestCluster::shared_blocking() else { return };
    let database = cluster.database_blocking();
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let url = database.url();
        starting.spawn(async move { connect(&url).await.ping().await.unwrap() });
    }
    starting.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_untouched() {
    let Some((store, database)) = own_store().await else { return };
    store.close().await;
    tokio::task::block_in_place(|| database.sql_blocking("UPDATE schema_version SET version = 99"));
    let error = try_connect(&database.url()).await.unwrap_err();
    assert!(matches!(error, MetadataError::Damaged { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("version 99") && error.contains("newer program"), "{error}");
    let version = tokio::task::block_in_place(|| database.sql_blocking("SELECT version FROM schema_version"));
    assert_eq!(version.trim(), "99");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_schema_is_left_alone_when_asked_to() {
    let Some(cluster) = TestCluster::shared_blocking() else { return };
    let database = cluster.database_blocking();
    let options = PostgresOptions::from_url_blocking(&database.url()).unwrap();
    let mut careful = options.clone();
    careful.migrate = false;
    let refused = PostgresMetadata::connect(careful.clone()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("version 0") && refused.contains("slipway registry migrate"), "{refused}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(tokio::task::block_in_place(|| database.sql_blocking(tables)).trim(), "0");
    PostgresMetadata::connect(options).await.unwrap();
    PostgresMetadata::connect(careful).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_refused_at_once_and_without_the_password() {
    let Some(cluster) = TestCluster::shared_blocking() else { return };
    let url = format!("postgres://postgres:secret-word@127.0.0.1:{}/nowhere", cluster.port());
    let asked = std::time::Instant::now();
    let error = try_connect(&url).await.unwrap_err().to_string();
    assert!(asked.elapsed() < std::time::Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(error.contains("nowhere") && !error.contains("secret-word"), "{error}");
}
