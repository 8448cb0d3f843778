//! What operators look at, and where.

use std::{collections::HashMap, net::SocketAddr};

use registry_http::{HttpSettings, Monitoring};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_util::sync::CancellationToken;

use crate::kit::{Server, open, push_manifest, raw_at, tokens};

async fn status(address: SocketAddr, path: &str) -> String {
    let (head, _) = raw_at(address, &format!("GET {path} HTTP/1.1\r\nHost: x"), b"").await;
    head.split(' ').nth(1).unwrap().to_owned()
}

/// The values by name and labels, rounded up.
async fn metrics(address: SocketAddr) -> HashMap<String, u64> {
    let (head, body) = raw_at(address, "GET /metrics HTTP/1.1\r\nHost: x", b"").await;
    assert!(
        head.starts_with("http/1.1 200") && head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse::<f64>().unwrap().ceil() as u64))
        .collect()
}

async fn on_main() -> Server {
    let monitoring = Monitoring { admin: None, metrics_on_main: true };
    Server::start_monitored(open, HttpSettings::default(), monitoring, CancellationToken::new()).await
}

#[tokio::test]
async fn requests_and_what_they_left_are_counted() {
    let server = on_main().await;
    let before = metrics(server.address).await;
    assert_eq!(before["slipway_repositories"], 0);
    let manifest = push_manifest(&server, "v1", 1000).await;
    let path = "/v2/a/b/manifests/v1";
    for _ in 0..3 {
        server.raw(&format!("GET {path} HTTP/1.1\r\nHost: x"), b"").await;
    }
    server.raw("GET /v2/a/b/manifests/none HTTP/1.1\r\nHost: x", b"").await;
    server.raw("BREW /coffee HTTP/1.1\r\nHost: x", b"").await;
    let after = metrics(server.address).await;
    let value = |name: &str| *after.get(name).unwrap_or_else(|| panic!("no {name} in {after:#?}"));
    let get = "method=\"GET\",route=\"manifest\"";
    assert_eq!(value(&format!("slipway_requests_total{{{get},status=\"2xx\"}}")), 3);
    assert_eq!(value(&format!("slipway_requests_total{{{get},status=\"4xx\"}}")), 1);
    assert_eq!(value("slipway_requests_total{method=\"other\",route=\"none\",status=\"4xx\"}"), 1);
    assert_eq!(value(&format!("slipway_request_duration_seconds_count{{{get}}}")), 4);
    assert_eq!(value(&format!("slipway_request_duration_seconds_bucket{{le=\"+Inf\",{get}}}")), 4);
    assert!(value(&format!("slipway_request_duration_seconds_sum{{{get}}}")) > 0);
    assert!(value(&format!("slipway_sent_bytes_total{{{get}}}")) >= 3 * manifest.len() as u64);
    let put = "method=\"PUT\",route=\"manifest\"";
    assert_eq!(value(&format!("slipway_received_bytes_total{{{put}}}")), manifest.len() as u64);
    for (name, expected) in
        [("repositories", 1), ("manifests", 1), ("tags", 1), ("blobs", 1), ("blob_bytes", 2)]
    {
        assert_eq!(value(&format!("slipway_{name}")), expected, "{name}");
    }
    assert_eq!(value("slipway_uploads_in_progress"), 0);
    assert_eq!(value("slipway_connections_open"), 1, "that of this very request");
    assert!(value("slipway_connections_total{outcome=\"served\"}") >= 8);
    assert_eq!(value("slipway_store_errors_total{store=\"metadata\"}"), 0);
}

#[tokio::test]
async fn an_upload_in_progress_is_seen() {
    let server = on_main().await;
    let mut stream = server.connect().await;
    let digest = registry_types::Digest::sha256(b"ab");
    let head = format!(
        "POST /v2/a/b/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = 0;
    for _ in 0..500 {
        seen = metrics(server.address).await["slipway_uploads_in_progress"];
        if seen == 1 {
            break;
        }
    }
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn answers_of_the_token_endpoint_are_counted() {
    let monitoring = Monitoring { admin: None, metrics_on_main: true };
    let server =
        Server::start_monitored(tokens, HttpSettings::default(), monitoring, CancellationToken::new()).await;
    server.raw("GET /jwt/auth HTTP/1.1\r\nHost: x", b"").await;
    // nobody:wrong
    let wrong = "GET /jwt/auth HTTP/1.1\r\nHost: x\r\nAuthorization: Basic bm9ib2R5Ondyb25n";
    server.raw(wrong, b"").await;
    server.raw("GET /jwt/auth?service=other HTTP/1.1\r\nHost: x", b"").await;
    let after = metrics(server.address).await;
    let outcomes = ["issued", "refused", "throttled", "failed"];
    let counted = outcomes.map(|outcome| after[&format!("slipway_tokens_total{{outcome=\"{outcome}\"}}")]);
    assert_eq!(counted, [1, 1, 0, 1]);
}

#[tokio::test]
async fn without_being_asked_for_metrics_are_not_shown() {
    let server = Server::start_with(open, HttpSettings::default()).await;
    assert_eq!(status(server.address, "/metrics").await, "404");
    assert_eq!(status(server.address, "/livez").await, "200");
}

#[tokio::test]
async fn an_admin_listener_has_what_operators_need_and_nothing_else() {
    let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = admin.local_addr().unwrap();
    let monitoring = Monitoring { admin: Some(admin), metrics_on_main: true };
    let stop = CancellationToken::new();
    let server = Server::start_monitored(open, HttpSettings::default(), monitoring, stop.clone()).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(status(address, path).await, "200", "{path}");
        assert_eq!(status(server.address, path).await, "404", "{path}");
    }
    for path in ["/v2/", "/v2/_catalog", "/jwt/auth", "/jwt/jwks.json"] {
        assert_eq!(status(address, path).await, "404", "{path}");
    }
    assert_eq!(status(server.address, "/v2/").await, "200");
    // A request in hand keeps the server from ending, and it is no longer ready.
    let mut hanging = server.connect().await;
    let digest = registry_types::Digest::sha256(b"ab");
    let head = format!(
        "POST /v2/a/b/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na"
    );
    hanging.write_all(head.as_bytes()).await.unwrap();
    while metrics(address).await["slipway_uploads_in_progress"] < 1 {}
    stop.cancel();
    let (head, _) = raw_at(address, "GET /readyz HTTP/1.1\r\nHost: x", b"").await;
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after:"), "{head}");
    assert_eq!(status(address, "/livez").await, "200");
}
