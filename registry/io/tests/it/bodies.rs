//! The bodies that hand out real memory give exactly the file's bytes, whatever the page cache holds.

use std::{fs::File, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use registry_io::{MappedBody, PooledBody};
use registry_types::Digest;
use rustix::fs::Advice;
use tokio::time::timeout;

use crate::kit::{content, digest_of, file_of};

const MIB: u64 = 1 << 20;
/// Longest a body may take: a hang is a failure, not a stuck test.
const PATIENCE: Duration = Duration::from_mins(1);

async fn check<B>(make: impl Fn(Arc<File>, u64, u64) -> B)
where
    B: Body<Data = Bytes, Error = io::Error>,
{
    let bytes = content(7 * MIB as usize + 4321, 1);
    let total = bytes.len() as u64;
    let file = file_of(&bytes);
    for (offset, length) in [(0, total), (4095, 3 * MIB), (MIB + 1, 2 * MIB), (total - 1, 1), (9, 0)] {
        for cold in [false, true] {
            if cold {
                // Only clean pages can be dropped from the page cache.
                file.sync_all().expect("synced");
                rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("dropped");
            }
            let body = make(Arc::clone(&file), offset, length);
            assert_eq!(body.size_hint().exact(), Some(length));
            assert_eq!(body.is_end_stream(), length == 0);
            let digest = timeout(PATIENCE, digest_of(body)).await.expect("in time").expect("readable");
            let expected = Digest::sha256(&bytes[offset as usize..(offset + length) as usize]);
            assert_eq!(digest, expected, "{length} bytes from {offset}, cold: {cold}");
        }
    }
    for (offset, length) in [(0, total + 1), (total - 1, 2), (total, 1), (0, 3 * total)] {
        let body = make(Arc::clone(&file), offset, length);
        let error = timeout(PATIENCE, digest_of(body)).await.expect("in time").expect_err("too short");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length} bytes from {offset}");
    }
}

#[tokio::test]
async fn pooled_bodies_give_the_files_bytes() {
    check(PooledBody::new).await;
}

#[tokio::test]
async fn mapped_bodies_give_the_files_bytes() {
    check(MappedBody::new).await;
}

#[tokio::test]
async fn a_chunk_outlives_its_body_and_its_file() {
    let bytes = content(2 * MIB as usize, 2);
    let file = file_of(&bytes);
    let mut body = std::pin::pin!(MappedBody::new(file, 0, 2 * MIB));
    let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await;
    let chunk = frame.expect("a frame").expect("readable").into_data().expect("data");
    // The body and the only handle of the unnamed file go; the chunk stays.
    body.set(MappedBody::new(file_of(b""), 0, 0));
    assert!(chunk == bytes[..chunk.len()], "the chunk differs");
}
