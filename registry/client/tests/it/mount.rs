//! Blobs that the registry has elsewhere are mounted, not sent.

use registry_client::{BlobContent, Mount};
use registry_types::{Digest, RepositoryName};

use crate::fake::{Fake, Trick, answer, content, text};

#[tokio::test]
async fn a_blob_is_looked_for_then_mounted_then_uploaded() {
    let fake = Fake::start().await;
    let from: RepositoryName = "root/base".parse().unwrap();
    let content = content(1000);
    let descriptor = fake.hold(&content);
    let blob = BlobContent::bytes(content);
    let pushed = fake.client().push_blob(&descriptor.digest, &blob, Some(&from)).await.unwrap();
    assert_eq!(pushed, Mount::Existed);
    // Not in this repository, though the registry has it.
    let fake =
        Fake::tricky(|seen| seen.is("HEAD", "/blobs/").then(|| Trick::Answer(text(answer(404), "")))).await;
    fake.hold(&crate::fake::content(1000));
    let pushed = fake.client().push_blob(&descriptor.digest, &blob, Some(&from)).await.unwrap();
    assert_eq!(pushed, Mount::Mounted);
    assert!(fake.client().mount(&descriptor.digest, &from).await.unwrap());
    assert!(fake.seen("PUT", "").is_empty() && fake.seen("PATCH", "").is_empty());
    let mount = &fake.seen("POST", "uploads")[0].target;
    assert!(mount.contains(&format!("mount=sha256%3A{}", descriptor.digest.hex())), "{mount}");
    assert!(mount.contains("from=root%2Fbase"), "{mount}");
    // The registry does not have it: the session that it opens instead is used.
    let fake = Fake::start().await;
    let pushed = fake.client().push_blob(&descriptor.digest, &blob, Some(&from)).await.unwrap();
    assert_eq!(pushed, Mount::Uploaded);
    assert_eq!(fake.seen("POST", "uploads").len(), 1);
    let absent = Digest::sha256(b"absent");
    assert!(!fake.client().mount(&absent, &from).await.unwrap());
    assert!(fake.state.uploads.lock().unwrap().is_empty(), "the session of a refused mount stays");
}

#[tokio::test]
async fn a_mount_without_the_right_to_read_its_source_becomes_an_upload() {
    // As GitLab does: no token at all for a scope list with a repository that may not be read.
    let fake = Fake::tricky(|seen| {
        seen.is("GET", "root%2Fprivate%3Apull").then(|| Trick::Answer(text(answer(403), "denied")))
    })
    .await;
    fake.challenge(None);
    let content = content(1000);
    let digest = Digest::sha256(&content);
    let from = "root/private".parse().unwrap();
    let blob = BlobContent::bytes(content);
    let pushed = fake.client().push_blob(&digest, &blob, Some(&from)).await.unwrap();
    assert_eq!(pushed, Mount::Uploaded);
    assert!(fake.blob(&digest).is_some());
}
