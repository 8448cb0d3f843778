//! PostgreSQL: replicas, outages, TLS, schemas. Stores in databases of the cluster that this process started.

mod backups;
mod collection;
mod outages;
mod proxy;
mod replicas;
mod schema;
mod tls;

use registry_metadata::{MetadataError, PostgresMetadata, PostgresOptions, TestCluster, TestDatabase};
use tokio::sync::OnceCell;

/// A store of its own. Its database is a copy of one that was brought to the schema before.
pub(crate) async fn store() -> Option<(PostgresMetadata, TestDatabase<'static>)> {
    static MIGRATED: OnceCell<TestDatabase<'static>> = OnceCell::const_new();
    let cluster = TestCluster::shared_blocking()?;
    let migrate = async || {
        let database = cluster.database_blocking();
        connect(&database.url()).await.close().await;
        database
    };
    let database = cluster.copy_blocking(MIGRATED.get_or_init(migrate).await);
    Some((connect(&database.url()).await, database))
}

async fn connect(url: &str) -> PostgresMetadata {
    try_connect(url).await.expect("the database answers")
}

async fn try_connect(url: &str) -> Result<PostgresMetadata, MetadataError> {
    PostgresMetadata::connect(PostgresOptions::from_url_blocking(url)?).await
}
