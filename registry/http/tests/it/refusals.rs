//! Refusals that come before the client has sent its body: it can read them all the same.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::kit::{Server, open, tokens};

const IDLE: Duration = Duration::from_secs(60);
/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn who_sends_the_whole_body_first_reads_the_refusal() {
    // More than all buffers on the way, so that the server must read it.
    let body = vec![b' '; 32 << 20];
    let (open, locked) = (Server::start(open, IDLE).await, Server::start(tokens, IDLE).await);
    let upload = "00000000-0000-4000-8000-000000000000";
    for (server, request, status) in [
        (&open, "PUT /v2/a/manifests/v1".to_owned(), "413"),
        (&open, format!("PATCH /v2/a/blobs/uploads/{upload}"), "404"),
        (&open, "PUT /v2/A/manifests/v1".to_owned(), "400"),
        (&open, "PUT /v2/a/tags/list".to_owned(), "405"),
        (&locked, "PUT /v2/a/manifests/v1".to_owned(), "401"),
        (&locked, format!("PATCH /v2/a/blobs/uploads/{upload}"), "401"),
    ] {
        let request = format!("{request} HTTP/1.1\r\nHost: x");
        let (head, answer) = timeout(PATIENCE, server.raw(&request, &body)).await.expect("an answer");
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request}: {head}");
        assert!(!answer.is_empty(), "{request}");
    }
}

#[tokio::test]
async fn a_connection_is_good_for_more_behind_a_refusal() {
    let server = Server::start(open, IDLE).await;
    let mut stream = server.connect().await;
    let length = 8 << 20;
    let head = format!("PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length]).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answers)).await.expect("an end").unwrap();
    assert!(answers.starts_with("HTTP/1.1 413") && answers.contains("\"live\""), "{answers}");
}

#[tokio::test]
async fn a_refused_body_without_an_end_is_not_read_for_ever() {
    let server = Server::start(open, IDLE).await;
    let mut stream = server.connect().await;
    let head =
        format!("PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b' '; 1 << 20];
    let sending = async {
        let mut sent = 0;
        while stream.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        sent
    };
    let sent = timeout(PATIENCE, sending).await.expect("it was cut off");
    assert!(sent < 256 << 20, "{sent} bytes were taken");
}

#[tokio::test]
async fn who_waits_for_a_word_is_not_asked_to_send() {
    let server = Server::start(open, IDLE).await;
    let mut stream = server.connect().await;
    let head = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an end");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}
