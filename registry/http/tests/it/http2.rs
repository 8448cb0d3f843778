//! HTTP/2: what its peers may make us hold, and that a push still flows.

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Server, content, open};

const IDLE: Duration = Duration::from_secs(60);
/// Of the 24 MiB above idle for 128 slow pulls and 32 pushes, a third is for the pushes.
const ROOM_OF_32_PUSHES: u32 = 8 << 20;
const ROOM_OF_A_CONNECTION: u32 = 1 << 20;

/// The windows that a server opens: of each stream, and of the connection.
async fn windows(server: &Server) -> (u32, u32) {
    let mut stream = server.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // RFC 9113 section 6.9.2.
    let (mut of_stream, mut of_connection) = (65_535, 65_535);
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; number(&[0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        match (head[3], head[4]) {
            // SETTINGS, and its acknowledgement, which comes last.
            (4, 0) => {
                for setting in payload.chunks(6).filter(|setting| setting[..2] == [0, 4]) {
                    of_stream = number(&setting[2..]);
                }
            }
            (4, _) => return (of_stream, of_connection),
            (8, _) if head[5..] == [0; 4] => of_connection += number(&payload),
            _ => {}
        }
    }
}

#[tokio::test]
async fn windows_hold_no_more_than_the_memory_for_them() {
    let server = Server::start(open, IDLE).await;
    let (of_stream, of_connection) = windows(&server).await;
    assert!(of_stream * 32 <= ROOM_OF_32_PUSHES, "a stream may have {of_stream} bytes in flight");
    assert!(of_connection <= ROOM_OF_A_CONNECTION, "a connection may have {of_connection} bytes in flight");
    assert!(of_stream > 65_535, "a push would be slower than with the usual window");
}

#[tokio::test]
async fn a_push_larger_than_all_windows_arrives() {
    let server = Server::start(open, IDLE).await;
    let blob = content((5 << 20) + 3);
    let digest = registry_types::Digest::sha256(&blob);
    let mut client = server.http2().await;
    let path = format!("/v2/a/b/blobs/uploads/?digest={digest}");
    assert_eq!(client.send("POST", &path, blob.clone().into()).await.status, StatusCode::CREATED);
    assert!(client.ask("GET", &format!("/v2/a/b/blobs/{digest}")).await.body == blob);
}

#[tokio::test]
async fn a_refusal_of_a_large_body_is_read() {
    let server = Server::start(open, IDLE).await;
    let mut client = server.http2().await;
    let answer = client.send("PUT", "/v2/a/manifests/v1", content(8 << 20).into()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(client.ask("GET", "/livez").await.status, StatusCode::OK);
}
