//! Files sent below hyper arrive whole, in order and on the right connection, or the connection ends.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use registry_types::Digest;
use tokio::{task::JoinSet, time::timeout};

use crate::kit::{Client, CutShort, Handler, content, file_of, serve, small};

const MIB: usize = 1 << 20;
/// Not a whole number of pieces, so that the last one is short.
const LENGTH: usize = 5 * MIB + 12_345;
/// Longest any of these exchanges may take: a hang is a failure, not a stuck test.
const PATIENCE: Duration = Duration::from_mins(1);

/// Serves `bytes` under `/file/OFFSET/LENGTH`, and small answers beside it.
fn files(bytes: &[u8]) -> Handler {
    let file = file_of(bytes);
    let total = bytes.len() as u64;
    Arc::new(move |request, sender| {
        let path: Vec<&str> = request.uri().path().trim_start_matches('/').split('/').collect();
        match *path {
            ["file", offset, length] => {
                let (offset, length) = (offset.parse().expect("a number"), length.parse().expect("a number"));
                Response::new(sender.body(Arc::clone(&file), offset, length).boxed())
            }
            ["not-modified"] => {
                let body = sender.body(Arc::clone(&file), 0, total).boxed();
                let mut answer = Response::new(body);
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                answer
            }
            // The whole file under a length that says less.
            ["understated"] => {
                let mut answer = Response::new(sender.body(Arc::clone(&file), 0, total).boxed());
                answer.headers_mut().insert(header::CONTENT_LENGTH, 1000.into());
                answer
            }
            // The length of the whole file, and only its first chunk.
            ["cut-short"] => {
                let body = CutShort { inner: Some(sender.body(Arc::clone(&file), 0, total)) };
                let mut answer = Response::new(body.boxed());
                answer.headers_mut().insert(header::CONTENT_LENGTH, total.into());
                answer
            }
            ["chunked"] => {
                // A stream of frames has no length, so hyper has to use the chunked coding.
                let frames = BodyStream::new(sender.body(Arc::clone(&file), 0, total));
                Response::new(StreamBody::new(frames).boxed())
            }
            _ => Response::new(small("a small answer")),
        }
    })
}

fn whole(bytes: &[u8]) -> String {
    format!("/file/0/{}", bytes.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_kept_alive_on_one_connection_have_the_right_digests() {
    let bytes = content(LENGTH, 1);
    let mut client = Client::connect(serve(files(&bytes)).await).await;
    for (offset, length) in [(0, LENGTH), (0, LENGTH), (777, 3 * MIB), (LENGTH - 1, 1), (5, 0), (MIB, MIB)] {
        client.ask(&[("GET", &format!("/file/{offset}/{length}"))]).await;
        let answer = timeout(PATIENCE, client.answer(false)).await.expect("in time").expect("an answer");
        assert!(answer.head.contains(&format!("content-length: {length}\r\n")), "{}", answer.head);
        let expected = Digest::sha256(&bytes[offset..offset + length]);
        assert_eq!(Digest::sha256(&answer.body), expected, "{length} bytes from {offset}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_not_in_the_page_cache_are_read_in_first() {
    let bytes = content(LENGTH, 10);
    let file = file_of(&bytes);
    let sent = Arc::clone(&file);
    let handler: Handler = Arc::new(move |_, sender| {
        // Only clean pages leave the page cache.
        sent.sync_all().expect("synced");
        rustix::fs::fadvise(&sent, 0, None, rustix::fs::Advice::DontNeed).expect("dropped");
        Response::new(sender.body(Arc::clone(&sent), 3, LENGTH as u64 - 3).boxed())
    });
    let mut client = Client::connect(serve(handler).await).await;
    for _ in 0..3 {
        client.ask(&[("GET", "/")]).await;
        let answer = timeout(PATIENCE, client.answer(false)).await.expect("in time").expect("an answer");
        assert!(answer.body == bytes[3..], "the cold file's bytes differ");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_of_all_kinds_are_answered_in_order() {
    let bytes = content(LENGTH, 2);
    let mut client = Client::connect(serve(files(&bytes)).await).await;
    let whole = whole(&bytes);
    for _ in 0..3 {
        client
            .ask(&[
                ("GET", &whole),
                ("HEAD", &whole),
                ("GET", "/small"),
                ("GET", "/not-modified"),
                ("GET", "/file/100/3"),
                ("HEAD", "/small"),
                ("GET", &whole),
                ("GET", "/small"),
            ])
            .await;
        let expected: [(bool, &[u8]); 8] = [
            (false, &bytes),
            (true, b""),
            (false, b"a small answer"),
            (true, b""),
            (false, &bytes[100..103]),
            (true, b""),
            (false, &bytes),
            (false, b"a small answer"),
        ];
        for (place, (bodyless, body)) in expected.into_iter().enumerate() {
            let answer =
                timeout(PATIENCE, client.answer(bodyless)).await.expect("in time").expect("an answer");
            assert!(answer.body == body, "answer {place} differs: {}", answer.head);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunked_coding_may_surround_file_pieces() {
    let bytes = content(2 * MIB + 7, 3);
    let mut client = Client::connect(serve(files(&bytes)).await).await;
    client.ask(&[("GET", "/chunked")]).await;
    let head = timeout(PATIENCE, client.answer(true)).await.expect("in time").expect("a head").head;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    let mut expected = Vec::new();
    for piece in bytes.chunks(MIB) {
        expected.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
        expected.extend_from_slice(piece);
        expected.extend_from_slice(b"\r\n");
    }
    expected.extend_from_slice(b"0\r\n\r\n");
    // The server keeps the connection open: the next answer tells where the body ended.
    client.ask(&[("GET", "/small")]).await;
    let mut read = vec![0; expected.len()];
    timeout(PATIENCE, client.read_exact(&mut read)).await.expect("in time").expect("the chunks");
    assert!(read == expected, "the chunked body differs");
    let next = timeout(PATIENCE, client.answer(false)).await.expect("in time").expect("an answer");
    assert_eq!(next.body, b"a small answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_at_once_get_their_own_bytes() {
    let bytes = Arc::new(content(LENGTH, 4));
    let address = serve(files(&bytes)).await;
    let mut readers = JoinSet::new();
    for reader in 0..32_usize {
        let bytes = Arc::clone(&bytes);
        readers.spawn(async move {
            let mut client = Client::connect(address).await;
            for round in 0..3 {
                let offset = (reader * 99_991 + round * 7) % (3 * MIB);
                let length = MIB + reader * 1000;
                client.ask(&[("GET", &format!("/file/{offset}/{length}")), ("GET", "/small")]).await;
                let answer = client.answer(false).await.expect("an answer");
                assert!(answer.body == bytes[offset..offset + length], "reader {reader}, round {round}");
                assert_eq!(client.answer(false).await.expect("an answer").body, b"a small answer");
            }
        });
    }
    timeout(PATIENCE, readers.join_all()).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_readers_get_everything() {
    let bytes = Arc::new(content(LENGTH, 5));
    let address = serve(files(&bytes)).await;
    let mut readers = JoinSet::new();
    for _ in 0..8 {
        let bytes = Arc::clone(&bytes);
        readers.spawn(async move {
            let mut client = Client::connect(address).await;
            client.ask(&[("GET", &whole(&bytes))]).await;
            client.answer(true).await.expect("a head");
            let mut read = Vec::new();
            let mut part = vec![0; 300_000];
            while read.len() < bytes.len() {
                tokio::time::sleep(Duration::from_millis(5)).await;
                let wanted = part.len().min(bytes.len() - read.len());
                client.read_exact(&mut part[..wanted]).await.expect("more bytes");
                read.extend_from_slice(&part[..wanted]);
            }
            assert!(read == *bytes, "the slow reader's bytes differ");
        });
    }
    timeout(PATIENCE, readers.join_all()).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_shorter_than_announced_ends_the_connection() {
    let bytes = content(MIB + 5, 6);
    let address = serve(files(&bytes)).await;
    // Shorter than the first piece, than the second, and gone between the probe and the send.
    for announced in [MIB + 6, 3 * MIB, 10 * MIB] {
        let mut client = Client::connect(address).await;
        client.ask(&[("GET", &format!("/file/0/{announced}")), ("GET", "/small")]).await;
        let rest = timeout(PATIENCE, client.rest()).await.expect("the connection ends");
        let body = match rest.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) => &rest[end + 4..],
            None => &[][..],
        };
        assert!(body.len() <= bytes.len() && bytes.starts_with(body), "{} bytes came", body.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_dropped_half_way_or_cut_by_its_header_ends_the_connection() {
    let bytes = content(LENGTH, 7);
    let address = serve(files(&bytes)).await;
    for (path, most) in [("/cut-short", MIB), ("/understated", 1000)] {
        let mut client = Client::connect(address).await;
        client.ask(&[("GET", path), ("GET", "/small")]).await;
        let rest = timeout(PATIENCE, client.rest()).await.expect("the connection ends");
        let head = rest.windows(4).position(|window| window == b"\r\n\r\n").map_or(rest.len(), |end| end + 4);
        let body = &rest[head..];
        assert!(body.len() <= most && bytes.starts_with(body), "{path}: {} bytes came", body.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn placeholders_copied_by_a_layer_never_reach_the_client() {
    let bytes = content(MIB, 8);
    let file = file_of(&bytes);
    let address = serve(Arc::new(move |_, sender| {
        let mut body = sender.body(Arc::clone(&file), 0, MIB as u64);
        // What a compressing or collecting layer does: take the chunk's memory for the content.
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let frame = match http_body::Body::poll_frame(std::pin::Pin::new(&mut body), &mut context) {
            std::task::Poll::Ready(Some(Ok(frame))) => frame,
            other => panic!("a cached file has its first chunk at once: {other:?}"),
        };
        let copied = bytes::Bytes::copy_from_slice(frame.data_ref().expect("data"));
        Response::new(http_body_util::Full::new(copied).map_err(|never| match never {}).boxed())
    }))
    .await;
    let mut client = Client::connect(address).await;
    client.ask(&[("GET", "/")]).await;
    assert_eq!(timeout(PATIENCE, client.rest()).await.expect("the connection ends"), b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_another_connection_ends_the_one_it_is_sent_on() {
    let bytes = content(MIB, 9);
    let file = file_of(&bytes);
    let kept = Arc::new(std::sync::Mutex::new(None));
    let address = serve(Arc::new(move |request, sender| {
        if request.uri().path() == "/keep" {
            *kept.lock().expect("not poisoned") = Some(sender.body(Arc::clone(&file), 0, MIB as u64));
            return Response::new(small("kept"));
        }
        let body = kept.lock().expect("not poisoned").take().expect("kept before");
        Response::new(body.boxed())
    }))
    .await;
    let mut first = Client::connect(address).await;
    first.ask(&[("GET", "/keep")]).await;
    assert_eq!(first.answer(false).await.expect("an answer").body, b"kept");
    let mut second = Client::connect(address).await;
    second.ask(&[("GET", "/steal")]).await;
    let rest = timeout(PATIENCE, second.rest()).await.expect("the connection ends");
    assert!(rest.ends_with(b"\r\n\r\n") || rest.is_empty(), "body bytes came");
}
