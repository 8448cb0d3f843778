//! The two stores of a configuration: SQLite and files in the data folder, or PostgreSQL and an object store that
//! several replicas share, or one of each.

use registry_blobs::{AnyBlobs, LocalBlobs, ObjectBlobs};
use registry_metadata::{AnyMetadata, PostgresMetadata, PostgresOptions, SqliteMetadata};

use crate::{Config, DataFolder, ServerError, run::off_workers};

/// Opens the metadata. `alone`: no server uses the data folder, so SQLite may be changed at will; beside one, only
/// what an operator changes may be.
pub(crate) async fn open_metadata(
    config: &Config,
    folder: &DataFolder,
    alone: bool,
) -> Result<AnyMetadata, ServerError> {
    if let Some(url) = config.metadata.url.clone() {
        let mut options = off_workers(move || Ok(PostgresOptions::from_url_blocking(url.expose())?)).await?;
        options.connections = config.metadata.connections;
        return Ok(AnyMetadata::Postgres(PostgresMetadata::connect(options).await?));
    }
    let path = folder.metadata();
    off_workers(move || {
        let opened = if alone {
            SqliteMetadata::open(&path)
        } else {
            SqliteMetadata::open_beside_server_blocking(&path)
        };
        Ok(AnyMetadata::Sqlite(opened?))
    })
    .await
}

/// Opens the blobs.
pub(crate) async fn open_blobs(config: &Config, folder: &DataFolder) -> Result<AnyBlobs, ServerError> {
    match config.blobs.options() {
        Some(options) => Ok(AnyBlobs::Object(ObjectBlobs::connect(&options).await?)),
        None => Ok(AnyBlobs::Local(LocalBlobs::in_directory(folder.root().to_owned()).await?)),
    }
}
