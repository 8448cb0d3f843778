//! The engines pass the suite.

mod sqlite {
    use registry_metadata::SqliteMetadata;

    registry_metadata::metadata_suite!(async || {
        let folder = tempfile::tempdir().expect("a temporary folder");
        (SqliteMetadata::open(&folder.path().join("metadata.db")).expect("a database"), folder)
    });
}

mod postgres {
    registry_metadata::metadata_suite!(crate::postgres::store);
}
