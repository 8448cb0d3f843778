//! The engines pass the suite.

use registry_metadata::{
    SqliteMetadata,
    suite::{operation::rows_move, run_pair},
};

async fn sqlite_store() -> (SqliteMetadata, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    (SqliteMetadata::open(&folder.path().join("metadata.db")).expect("a database"), folder)
}

mod sqlite {
    registry_metadata::metadata_suite!(super::sqlite_store);
}

mod postgres {
    registry_metadata::metadata_suite!(crate::postgres::store);
}

#[test]
fn rows_move_from_sqlite_to_postgres() {
    run_pair(sqlite_store, crate::postgres::store, rows_move);
}

#[test]
fn rows_move_from_postgres_to_sqlite() {
    run_pair(crate::postgres::store, sqlite_store, rows_move);
}
