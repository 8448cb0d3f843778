//! The log line of a request, and the id that it shares with the answer.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use registry_http::HttpSettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::kit::{Server, content, open, push_blob, push_manifest};

/// Keeps the lines of requests, as `name=value` with spaces between. One for the whole process, since those of single
/// threads come and go while others log: each test looks for content of its own.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        write!(self.0, "{}={value} ", field.name()).unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("registry_http")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if line.0.contains("message=request ") {
            self.0.lock().unwrap().push(line.0);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Lines {
    /// The line that has all `parts`, waited for: it follows the answer.
    async fn with(&self, parts: &[&str]) -> String {
        for _ in 0..500 {
            let found = |line: &&String| parts.iter().all(|part| line.contains(&format!("{part} ")));
            if let Some(line) = self.0.lock().unwrap().iter().find(found) {
                return line.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no line has {parts:?}: {:#?}", self.0.lock().unwrap());
    }
}

static LINES: LazyLock<Lines> = LazyLock::new(|| {
    let lines = Lines::default();
    tracing::subscriber::set_global_default(lines.clone()).unwrap();
    lines
});

async fn logged(proxy: &str) -> (Server, &'static Lines) {
    let lines = &*LINES;
    let trusted_proxies = vec![proxy.parse().unwrap()];
    let body_idle = Duration::from_secs(1);
    let settings = HttpSettings { body_idle, trusted_proxies, ..HttpSettings::default() };
    (Server::start_with(open, settings).await, lines)
}

#[tokio::test]
async fn the_line_tells_digest_tag_and_bytes() {
    let (server, lines) = logged("192.0.2.1").await;
    let path = push_blob(&server, &content(1000)).await;
    let digest = format!("digest={}", path.rsplit('/').next().unwrap());
    let repository = "repository=a/b";
    lines.with(&["method=POST", "route=uploads", repository, &digest, "received=1000", "status=201"]).await;
    server.raw(&format!("GET {path} HTTP/1.1\r\nHost: x"), b"").await;
    let line = lines.with(&["method=GET", "route=blob", &digest, "sent=1000", "received=0"]).await;
    assert!(!line.contains("cut="), "{line}");
    server.raw(&format!("HEAD {path} HTTP/1.1\r\nHost: x"), b"").await;
    lines.with(&["method=HEAD", &digest, "sent=0"]).await;
    let manifest = push_manifest(&server, "logged", 11).await;
    let digest = format!("digest={}", registry_types::Digest::sha256(manifest.as_bytes()));
    let received = format!("received={}", manifest.len());
    lines.with(&["method=PUT", "route=manifest", "tag=logged", &digest, &received]).await;
    server.raw("GET /v2/a/b/manifests/logged HTTP/1.1\r\nHost: x", b"").await;
    lines.with(&["method=GET", "tag=logged", &digest, &format!("sent={}", manifest.len())]).await;
}

#[tokio::test]
async fn a_transfer_is_logged_when_it_ends_with_what_was_sent() {
    let (server, lines) = logged("192.0.2.1").await;
    let blob = content((24 << 20) + 9);
    let path = push_blob(&server, &blob).await;
    let mut stream = server.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 1000]).await.unwrap();
    let digest = format!("digest={}", path.rsplit('/').next().unwrap());
    let told = |line: &String| line.contains("route=blob ") && line.contains(&digest);
    assert!(!lines.0.lock().unwrap().iter().any(told), "told before its end");
    drop(stream);
    let line = lines.with(&["method=GET", "route=blob", &digest, "status=200", "cut=true"]).await;
    let sent = line.split("sent=").nth(1).unwrap().split(' ').next().unwrap();
    let sent: usize = sent.parse().unwrap();
    assert!(sent >= 1000 && sent < blob.len(), "{line}");
}

#[tokio::test]
async fn answer_and_line_share_the_id_of_a_trusted_proxy() {
    let head = "GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Request-Id: Trace-1";
    let (server, lines) = logged("127.0.0.1").await;
    let (answer, _) = server.raw(head, b"").await;
    assert!(answer.contains("\r\nx-request-id: trace-1"), "{answer}");
    lines.with(&["request=Trace-1", "route=base"]).await;
    let (server, lines) = logged("192.0.2.1").await;
    let (answer, _) = server.raw(head, b"").await;
    let id = answer.split("x-request-id: ").nth(1).unwrap().lines().next().unwrap();
    assert!(id.len() == 32 && !id.contains("trace"), "{answer}");
    lines.with(&[&format!("request={id}"), "route=base"]).await;
}
