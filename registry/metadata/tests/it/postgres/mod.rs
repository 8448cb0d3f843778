//! PostgreSQL: replicas, outages, TLS, schemas. Stores in databases of the cluster that this process started.

mod backups;
mod collection;
mod outages;
mod proxy;
mod replicas;
mod schema;
mod tls;

use std::{
    ops::Deref,
    sync::{Mutex, PoisonError},
};

use registry_metadata::{MetadataError, PostgresMetadata, PostgresOptions, TestCluster, TestDatabase};

/// Databases that no test uses now. Making one writes megabytes; emptying one does not.
static FREE: Mutex<Vec<TestDatabase<'static>>> = Mutex::new(Vec::new());

/// Empties every table, without triggers and checks of references, and puts back what the first migration put there.
const EMPTY: &str = "SET session_replication_role = replica;
    DO $$ DECLARE name TEXT; BEGIN
        FOR name IN SELECT tablename FROM pg_tables
            WHERE schemaname = 'public' AND tablename <> 'schema_version'
        LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    END $$;
    INSERT INTO revisions VALUES ('rules', 0), ('tag_rules', 0);
    INSERT INTO readiness VALUES (TRUE, 0)";

/// A database that is used again when its test is over.
pub(crate) struct Shared(Option<TestDatabase<'static>>);

impl Deref for Shared {
    type Target = TestDatabase<'static>;

    fn deref(&self) -> &TestDatabase<'static> {
        self.0.as_ref().expect("it is given back at the end only")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        FREE.lock().unwrap_or_else(PoisonError::into_inner).extend(self.0.take());
    }
}

/// An empty store of its own. Whoever changes the schema takes [`own_store`].
pub(crate) async fn store() -> Option<(PostgresMetadata, Shared)> {
    let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let Some(database) = free else {
        let (store, database) = own_store().await?;
        return Some((store, Shared(Some(database))));
    };
    tokio::task::block_in_place(|| {
        database.terminate_blocking();
        database.sql_blocking(EMPTY);
    });
    Some((connect(&database.url()).await, Shared(Some(database))))
}

/// An empty store in a database that no other test gets.
async fn own_store() -> Option<(PostgresMetadata, TestDatabase<'static>)> {
    let database = TestCluster::shared_blocking()?.database_blocking();
    Some((connect(&database.url()).await, database))
}

async fn connect(url: &str) -> PostgresMetadata {
    try_connect(url).await.expect("the database answers")
}

async fn try_connect(url: &str) -> Result<PostgresMetadata, MetadataError> {
    PostgresMetadata::connect(PostgresOptions::from_url_blocking(url)?).await
}
