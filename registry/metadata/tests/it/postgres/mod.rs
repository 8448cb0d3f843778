//! PostgreSQL: replicas, outages, TLS, schemas. Stores in databases of the cluster that this process started.

mod outages;
mod proxy;
mod replicas;
mod schema;
mod tls;

use registry_metadata::{MetadataError, PostgresMetadata, PostgresOptions, TestCluster, TestDatabase};

pub(crate) async fn store() -> Option<(PostgresMetadata, TestDatabase<'static>)> {
    let database = TestCluster::shared_blocking()?.database_blocking();
    Some((connect(&database.url()).await, database))
}

async fn connect(url: &str) -> PostgresMetadata {
    try_connect(url).await.expect("the database answers")
}

async fn try_connect(url: &str) -> Result<PostgresMetadata, MetadataError> {
    PostgresMetadata::connect(PostgresOptions::from_url_blocking(url)?).await
}
