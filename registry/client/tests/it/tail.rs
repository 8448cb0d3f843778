//! The rest of a blob: from any offset, as it comes.

use futures_util::StreamExt as _;
use registry_client::{BlobTail, Error};
use registry_types::Digest;

use crate::fake::{Fake, Trick, content};

async fn read(mut tail: BlobTail) -> (Vec<u8>, Option<Error>) {
    let mut all = Vec::new();
    while let Some(piece) = tail.next().await {
        match piece {
            Ok(piece) => all.extend_from_slice(&piece),
            Err(error) => return (all, Some(error)),
        }
    }
    (all, None)
}

#[tokio::test]
async fn a_tail_begins_where_it_is_asked_to_and_knows_the_whole_length() {
    let content = content(300_000);
    for ranges in [true, false] {
        let fake = Fake::tricky(move |_| (!ranges).then_some(Trick::IgnoreRange)).await;
        let digest = fake.hold(&content).digest;
        for offset in [0, 1, 299_999] {
            let tail = fake.client().blob_tail(&digest, offset as u64).await.unwrap();
            assert_eq!(tail.size(), 300_000);
            let (got, error) = read(tail).await;
            assert!(error.is_none() && got == content[offset..], "from {offset}, ranges {ranges}");
        }
    }
}

#[tokio::test]
async fn a_cut_is_told_and_not_mended() {
    let content = content(300_000);
    let fake = Fake::tricky(|seen| seen.is("GET", "/blobs/").then_some(Trick::CutAnswer(100_000))).await;
    let digest = fake.hold(&content).digest;
    let (got, error) = read(fake.client().blob_tail(&digest, 0).await.unwrap()).await;
    assert!(error.is_some_and(|error| error.is_transient()));
    assert!(got.len() <= 100_000 && got == content[..got.len()]);
    assert_eq!(fake.seen("GET", "/blobs/").len(), 1);
    let missing = fake.client().blob_tail(&Digest::sha256(b"none"), 0).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
}
