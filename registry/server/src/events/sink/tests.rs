use std::sync::Mutex as StdMutex;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// An endpoint that gives each request on each connection the next answer, and closes a connection where there is none.
async fn endpoint(answers: Vec<Vec<&'static str>>) -> (Url, Arc<StdMutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap()).parse().unwrap();
    let heard = Arc::new(StdMutex::new(Vec::new()));
    let hearing = Arc::clone(&heard);
    tokio::spawn(async move {
        for connection in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in connection {
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                hearing.lock().unwrap().push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    });
    (url, heard)
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const REFUSED: &str = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
const MOVED: &str = "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";

async fn sink(url: &Url) -> HttpSink {
    let mut secret = http::HeaderValue::from_static("a secret");
    secret.set_sensitive(true);
    HttpSink::new(url, HeaderMap::from_iter([(header::AUTHORIZATION, secret)])).await.unwrap()
}

fn batch() -> Bytes {
    Bytes::from_static(br#"{"events":[]}"#)
}

#[tokio::test]
async fn a_batch_is_posted_with_its_type_and_the_configured_headers() {
    let (url, heard) = endpoint(vec![vec![TAKEN, TAKEN]]).await;
    let sink = sink(&url).await;
    sink.deliver(batch()).await.unwrap();
    sink.deliver(batch()).await.expect("the connection is used again");
    let heard = heard.lock().unwrap();
    let (head, body) = heard[0].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?x=1 HTTP/1.1"), "{head}");
    let head = head.to_lowercase();
    for line in [
        "content-type: application/vnd.docker.distribution.events.v1+json",
        "authorization: a secret",
        &format!("host: {}", url.authority()),
        "content-length: 13",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
    }
    assert_eq!((body, heard.len()), (r#"{"events":[]}"#, 2));
    assert!(!format!("{sink:?}").contains("secret"));
}

#[tokio::test]
async fn only_a_success_counts_and_no_redirect_is_followed() {
    let (url, _) = endpoint(vec![vec![REFUSED], vec![MOVED], vec![]]).await;
    let sink = sink(&url).await;
    assert!(sink.deliver(batch()).await.unwrap_err().to_string().contains("500"));
    assert!(sink.deliver(batch()).await.unwrap_err().to_string().contains("307"));
    sink.deliver(batch()).await.unwrap_err();
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure() {
    let (url, heard) = endpoint(vec![vec![TAKEN], vec![TAKEN]]).await;
    let sink = sink(&url).await;
    sink.deliver(batch()).await.unwrap();
    sink.deliver(batch()).await.unwrap();
    assert_eq!(heard.lock().unwrap().len(), 2);
}
