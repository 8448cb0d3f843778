//! Answers as they go over the wire.

use std::time::Duration;

use http::{StatusCode, header};

use crate::kit::{Server, content, open, push_blob, push_manifest, tokens};

const IDLE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn head_over_http2_has_the_length_and_no_body() {
    let server = Server::start(open, IDLE).await;
    let locked = Server::start(tokens, IDLE).await;
    push_manifest(&server, "v1", 10).await;
    for (server, path, status) in [
        (&server, "/v2/", StatusCode::OK),
        (&server, "/v2/a/b/manifests/v1", StatusCode::OK),
        (&server, "/v2/a/b/manifests/other", StatusCode::NOT_FOUND),
        (&locked, "/v2/", StatusCode::UNAUTHORIZED),
    ] {
        let mut client = server.http2().await;
        let get = client.ask("GET", path).await;
        let head = client.ask("HEAD", path).await;
        assert_eq!((get.status, head.status), (status, status), "{path}");
        assert!(!get.body.is_empty() && head.body.is_empty(), "{path}");
        let length = head.headers.get(header::CONTENT_LENGTH).expect("a length").to_str().unwrap();
        assert_eq!(length.parse(), Ok(get.body.len()), "{path}");
    }
}

#[tokio::test]
async fn large_content_comes_whole_by_every_way() {
    let server = Server::start(open, IDLE).await;
    let blob = content((5 << 20) + 77);
    let path = push_blob(&server, &blob).await;
    let (head, body) = server.raw(&format!("GET {path} HTTP/1.1\r\nHost: x"), b"").await;
    assert!(head.starts_with("http/1.1 200") && body == blob);
    assert!(server.http2().await.ask("GET", &path).await.body == blob);
    let manifest = push_manifest(&server, "large", 3 << 20).await;
    let path = "/v2/a/b/manifests/large";
    let (_, body) = server.raw(&format!("GET {path} HTTP/1.1\r\nHost: x"), b"").await;
    assert!(body == manifest);
    assert!(server.http2().await.ask("GET", path).await.body == manifest);
}

#[tokio::test]
async fn a_range_counts_only_for_the_same_content() {
    let server = Server::start(open, IDLE).await;
    let path = push_blob(&server, b"0123456789").await;
    let digest = path.rsplit('/').next().unwrap();
    for (validator, status) in [
        (format!("\"{digest}\""), "206"),
        (format!("W/\"{digest}\""), "200"),
        ("\"other\"".to_owned(), "200"),
        ("Sat, 29 Oct 1994 19:43:31 GMT".to_owned(), "200"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nRange: bytes=2-3\r\nIf-Range: {validator}");
        let (head, body) = server.raw(&request, b"").await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{validator}: {head}");
        assert_eq!(&*body, if status == "206" { &b"23"[..] } else { b"0123456789" });
    }
}

#[tokio::test]
async fn no_answer_is_a_page() {
    let server = Server::start(open, IDLE).await;
    for path in ["/v2/", "/livez", "/nothing", "/v2/a/manifests/none"] {
        let (head, _) = server.raw(&format!("GET {path} HTTP/1.1\r\nHost: x"), b"").await;
        assert!(head.contains("\r\nx-content-type-options: nosniff"), "{head}");
        assert!(head.contains("\r\ncontent-security-policy: sandbox; default-src 'none'"), "{head}");
    }
}

#[tokio::test]
async fn what_cannot_be_met_is_refused() {
    let server = Server::start(tokens, IDLE).await;
    for (head, status) in [
        ("Host: x\r\nExpect: 200-ok", "417"),
        ("Host: a\"b", "400"),
        ("Host: registry.example:5000", "401"),
        ("Host: [::1]:5000", "401"),
    ] {
        let (answer, _) = server.raw(&format!("GET /v2/ HTTP/1.1\r\n{head}"), b"").await;
        assert!(answer.starts_with(&format!("http/1.1 {status}")), "{head}: {answer}");
    }
}
