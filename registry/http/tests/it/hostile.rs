//! Peers that only hold what they got: none of them does so for long.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::kit::{Server, content, open, push_blob};

const IDLE: Duration = Duration::from_millis(500);
/// For a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_blob_that_nobody_reads_is_given_up() {
    let server = Server::start(open, IDLE).await;
    // More than the buffers of both sockets.
    let blob = content(24 << 20);
    let path = push_blob(&server, &blob).await;
    let mut stream = server.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(IDLE * 6).await;
    let mut got = Vec::new();
    // A reset counts as an end too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut got)).await.expect("the connection ended");
    assert!(got.len() < blob.len(), "the whole blob was kept for the reader");
}

#[tokio::test]
async fn a_blob_that_is_read_slowly_is_sent() {
    let server = Server::start(open, Duration::from_secs(3)).await;
    let blob = content(24 << 20);
    let path = push_blob(&server, &blob).await;
    let mut stream = server.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    let mut some = vec![0; 2 << 20];
    loop {
        let count = stream.read(&mut some).await.expect("no reset");
        if count == 0 {
            break;
        }
        got.extend_from_slice(&some[..count]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(got.ends_with(&blob));
}

#[tokio::test]
async fn an_http2_connection_without_requests_ends() {
    let server = Server::start(open, IDLE).await;
    let mut client = server.http2().await;
    for _ in 0..4 {
        tokio::time::sleep(IDLE / 2).await;
        assert!(client.ask("GET", "/v2/").await.status.is_success(), "it ended while it was used");
    }
    timeout(PATIENCE, client.connection).await.expect("it ended by itself").unwrap();
}
