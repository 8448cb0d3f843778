//! Blobs that are in an object store: streamed, or their clients sent there.

use std::sync::Arc;

use registry_blobs::MemoryStore;
use registry_http::{HttpSettings, Redirects};

use crate::kit::{Server, content, push_blob};

fn redirecting(except: &[&str]) -> HttpSettings {
    let except = except.iter().map(|text| text.parse().unwrap()).collect();
    HttpSettings { redirects: Redirects { enabled: true, except }, ..HttpSettings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_and_its_parts_come_whole_by_every_way() {
    let server = Server::on_objects(&Arc::default(), HttpSettings::default()).await;
    let blob = content((5 << 20) + 77);
    let path = push_blob(&server, &blob).await;
    let get = format!("GET {path} HTTP/1.1\r\nHost: x");
    let (head, body) = server.raw(&get, b"").await;
    assert!(head.starts_with("http/1.1 200") && body == blob, "{head}");
    assert!(head.contains(&format!("content-length: {}", blob.len())), "{head}");
    assert!(server.http2().await.ask("GET", &path).await.body == blob);
    let (head, body) = server.raw(&format!("{get}\r\nRange: bytes=1000000-3999999"), b"").await;
    assert!(head.starts_with("http/1.1 206") && body == blob[1_000_000..4_000_000], "{head}");
    let (head, body) = server.raw(&format!("HEAD {path} HTTP/1.1\r\nHost: x"), b"").await;
    assert!(head.contains(&format!("content-length: {}", blob.len())) && body.is_empty(), "{head}");
    let empty = push_blob(&server, b"").await;
    let (head, body) = server.raw(&format!("GET {empty} HTTP/1.1\r\nHost: x"), b"").await;
    assert!(head.starts_with("http/1.1 200") && body.is_empty(), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_a_503_before_any_byte() {
    let objects = Arc::new(MemoryStore::default());
    let server = Server::on_objects(&objects, HttpSettings::default()).await;
    let path = push_blob(&server, &content(100_000)).await;
    let get = format!("GET {path} HTTP/1.1\r\nHost: x");
    objects.fail(|_| true);
    let (head, body) = server.raw(&get, b"").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after:"), "{head}");
    assert!(!String::from_utf8_lossy(&body).contains("made to fail"), "the store's words are for the log");
    let digest = registry_types::Digest::sha256(b"new");
    let push = format!("POST /v2/a/b/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x");
    let (head, _) = server.raw(&push, b"new").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after:"), "{head}");
    objects.mend();
    let (head, body) = server.raw(&get, b"").await;
    assert!(head.starts_with("http/1.1 200") && body.len() == 100_000, "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_sent_to_the_store_unless_they_are_excepted() {
    let blob = content(100_000);
    for (except, agent, redirected) in [
        (vec![], "docker/29", true),
        (vec!["192.0.2.0/24", "skopeo/"], "docker/29", true),
        (vec!["skopeo/"], "skopeo/1.20", false),
        (vec!["127.0.0.0/8"], "docker/29", false),
    ] {
        let server = Server::on_objects(&Arc::default(), redirecting(&except)).await;
        let path = push_blob(&server, &blob).await;
        let headers = format!("Host: x\r\nUser-Agent: {agent}\r\nRange: bytes=5-9");
        let (head, body) = server.raw(&format!("GET {path} HTTP/1.1\r\n{headers}"), b"").await;
        if redirected {
            assert!(head.starts_with("http/1.1 307") && body.is_empty(), "{head}");
            assert!(head.contains("location: http://objects.invalid/blobs/"), "{head}");
            assert!(head.contains("cache-control: no-store"), "{head}");
        } else {
            assert!(head.starts_with("http/1.1 206") && body == blob[5..10], "{head}");
        }
        let (head, _) = server.raw(&format!("HEAD {path} HTTP/1.1\r\n{headers}"), b"").await;
        assert!(head.starts_with("http/1.1 200"), "its length is known here: {head}");
        let other = path.replace("/a/b/", "/a/other/");
        let (head, _) = server.raw(&format!("GET {other} HTTP/1.1\r\n{headers}"), b"").await;
        assert!(head.starts_with("http/1.1 404"), "{head}");
    }
    let local = Server::start_with(crate::kit::open, redirecting(&[])).await;
    let path = push_blob(&local, &blob).await;
    let (head, _) = local.raw(&format!("GET {path} HTTP/1.1\r\nHost: x"), b"").await;
    assert!(head.starts_with("http/1.1 200"), "a file is sent from here: {head}");
}
