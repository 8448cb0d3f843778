//! A commit that fails, or a process that ends, at each step of the order. The failpoints are the process's, so
//! these tests are apart from all others and one at a time ([`FailScenario`] sees to that).

use std::path::Path;

use bytes::Bytes;
use fail::FailScenario;
use registry_blobs::{
    BlobStore, BlobWriter, LocalBlobs,
    suite::{self, content, nothing_yet},
};
use registry_types::{Algorithm, BlobLocation, Digest, UploadId};

async fn open(folder: &Path) -> LocalBlobs {
    LocalBlobs::in_directory(folder.to_owned()).await.expect("opened")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_at_any_step_leaves_no_blob_or_a_whole_one() {
    let steps = [
        ("blob-before-sync", false),
        ("blob-after-sync", false),
        ("blob-after-rename", true),
        ("blob-after-directory-sync", true),
    ];
    for (seed, (step, stored)) in steps.into_iter().enumerate() {
        let scenario = FailScenario::setup();
        fail::cfg(step, "return").expect("a known action");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = open(folder.path()).await;
        let bytes = content(500_000, 2000 + seed as u64);
        let digest = Digest::sha256(&bytes);
        let id = UploadId::random();
        let mut writer = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
        writer.write(Bytes::copy_from_slice(&bytes)).await.expect("written");
        let progress = writer.checkpoint().await.expect("durable");
        let error = writer.commit(&digest).await.expect_err(step);
        assert!(error.to_string().contains(step), "{error}");
        scenario.teardown();
        // After a restart.
        let store = open(folder.path()).await;
        let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers");
        assert_eq!(blob.is_some(), stored, "{step}");
        if let Some(blob) = blob {
            assert!(suite::read(&blob).await.expect("readable") == bytes, "{step}");
            suite::store(&store, &bytes, 50_000).await.expect("pushed again");
        } else {
            let writer = store.resume(id, 1, &progress).await.expect("the session goes on");
            writer.commit(&digest).await.expect("committed");
        }
        let blob = store.open(&digest, &BlobLocation::ByDigest, 0).await.expect("answers").expect("there");
        assert!(suite::read(&blob).await.expect("readable") == bytes, "{step}");
        let session = folder.path().join("uploads").join(id.to_string());
        assert!(!session.exists(), "{step}");
    }
}
