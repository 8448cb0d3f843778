//! Stores in databases of the cluster that this process started.

use registry_metadata::{PostgresMetadata, PostgresOptions, TestCluster, TestDatabase};

pub(crate) async fn store() -> Option<(PostgresMetadata, TestDatabase<'static>)> {
    let database = TestCluster::shared_blocking()?.database_blocking();
    Some((connect(&database.url()).await, database))
}

pub(crate) async fn connect(url: &str) -> PostgresMetadata {
    let options = PostgresOptions::from_url_blocking(url).expect("the URL is well formed");
    PostgresMetadata::connect(options).await.expect("the database answers")
}
