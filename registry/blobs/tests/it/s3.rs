//! A real S3 server.

use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use registry_blobs::{
    BlobError, BlobHandle, BlobSource, BlobStore, BlobWriter, ObjectBlobs, ObjectCredentials, ObjectOptions,
    suite::{self, Stored, assert_stored, commit, content, nothing_yet},
};
use registry_types::{Algorithm, Digest, UploadId};

use crate::s3_server::{ACCESS_KEY, BUCKET, REGION, S3Server, SECRET_KEY};

/// A server, or why there is none; in CI there has to be one.
pub(crate) fn server() -> Option<S3Server> {
    let folder = env::var_os("SLIPWAY_TOOLS").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache/slipway/tools")));
    let program = folder.map(|folder| folder.join("versitygw")).filter(|program| program.exists());
    let Some(program) = program else {
        let in_ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
        assert!(!in_ci, "versitygw is not installed: cargo xtask fixtures");
        println!("skipped: versitygw is not installed: cargo xtask fixtures");
        return None;
    };
    Some(S3Server::start(&program).expect("the S3 server starts"))
}

/// How to reach the bucket of a server at `address`.
pub(crate) fn options(address: SocketAddr) -> ObjectOptions {
    let url = |text: String| text.parse().expect("a URL");
    let mut options = ObjectOptions::at(url(format!("s3://{BUCKET}/some/folder")));
    options.endpoint = Some(url(format!("http://{address}")));
    options.region = Some(REGION.to_owned());
    options.credentials = Some(ObjectCredentials::new(ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()));
    options.allow_http = true;
    options
}

pub(crate) async fn replica(address: SocketAddr) -> ObjectBlobs {
    ObjectBlobs::connect(&options(address)).await.expect("connected")
}

pub(crate) async fn open(store: &ObjectBlobs, stored: &Stored) -> BlobHandle {
    let opened = store.open(&stored.digest, &stored.location, stored.size).await;
    opened.expect("the store answers").expect("there")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_has_every_property() {
    let Some(server) = server() else { return };
    suite::every_property(async || replica(server.address()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_blob_moves_between_replicas() {
    let Some(server) = server() else { return };
    let bytes = Bytes::from(content(70 << 20, 1));
    let id = UploadId::random();
    let mut progress = nothing_yet(Algorithm::Sha256);
    // The third leaves while its parts are on their way, as one whose client is gone; a fourth never records.
    let cuts = [3 << 20, 30_000_001, 48 << 20];
    let mut left = Vec::new();
    for (writer, end) in (1..).zip(cuts) {
        let store = replica(server.address()).await;
        let mut session = store.resume(id, writer, &progress).await.expect("goes on");
        session.write(bytes.slice(progress.length() as usize..end)).await.expect("written");
        if writer == 3 {
            let on_the_way = session.checkpoint_on_the_way().await.expect("an answer");
            assert!(on_the_way.length() < end as u64);
            progress = on_the_way;
            left.push(session);
        } else {
            progress = session.leave().await.expect("durable");
            assert_eq!(progress.length(), end as u64);
        }
    }
    let store = replica(server.address()).await;
    let mut session = store.resume(id, 5, &progress).await.expect("goes on");
    session.write(bytes.slice(progress.length() as usize..)).await.expect("written");
    let stored = commit(&store, session, &bytes).await.expect("committed");
    assert_stored(&store, &stored, &bytes).await;
    for late in left {
        // Whatever it is told, it must not reach the blob.
        let _ = late.commit(&Digest::sha256(&bytes.slice(..48 << 20))).await;
    }
    assert_stored(&store, &stored, &bytes).await;
    assert_eq!(server.files(), 1, "something is left of the upload");
    store.remove(&stored.digest, &stored.location).await.expect("removed");
    assert_eq!(server.files(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_aborted_upload_leaves_nothing_on_the_server() {
    let Some(server) = server() else { return };
    let store = replica(server.address()).await;
    let id = UploadId::random();
    let mut session = store.resume(id, 1, &nothing_yet(Algorithm::Sha256)).await.expect("new");
    session.write(Bytes::from(content(18 << 20, 2))).await.expect("written");
    let progress = session.leave().await.expect("durable");
    assert!(server.files() >= 2, "parts and a tail");
    replica(server.address()).await.abort(id, Some(&progress)).await.expect("aborted");
    assert_eq!(server.files(), 0);
    let session = store.resume(id, 2, &progress).await;
    assert!(matches!(session, Err(BlobError::UploadLost { .. })), "{session:?}");
}

/// GETs a URL of the server as a client without credentials would; the body.
fn get(url: &str, range: &str) -> (String, Vec<u8>) {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (address, path) = rest.split_once('/').expect("a path");
    let mut stream = TcpStream::connect(address).expect("connected");
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {address}\r\nRange: {range}\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).expect("text"), body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_url_gives_the_blob_and_no_secret() {
    let Some(server) = server() else { return };
    let store = replica(server.address()).await;
    let bytes = content(300_000, 3);
    let stored = suite::store(&store, &bytes, 100_000).await.expect("stored");
    let BlobSource::Remote(remote) = open(&store, &stored).await.content else { panic!("it is remote") };
    let url = remote.presign(Duration::from_secs(60)).await.expect("signed").expect("S3 can sign");
    assert!(!url.as_str().contains(SECRET_KEY));
    let (head, body) = get(url.as_str(), "bytes=1000-1999");
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    assert!(body == bytes[1000..2000]);
    let other = url.as_str().replacen("X-Amz-Signature=", "X-Amz-Signature=0", 1);
    assert!(get(&other, "bytes=0-1").0.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_is_told_without_secrets() {
    let Some(server) = server() else { return };
    let good = options(server.address());
    assert!(!format!("{good:?}").contains(SECRET_KEY));
    let store = ObjectBlobs::connect(&good).await.expect("connected");
    assert!(!format!("{store:?}").contains(SECRET_KEY), "{store:?}");
    let mut key = good.clone();
    key.credentials = Some(ObjectCredentials::new(ACCESS_KEY.to_owned(), "wrong-secret".to_owned()));
    let mut bucket = good.clone();
    bucket.url = "s3://no-such-bucket".parse().expect("a URL");
    let mut scheme = good.clone();
    scheme.url = "ftp://slipway".parse().expect("a URL");
    let mut http = good;
    http.allow_http = false;
    for (options, word) in
        [(key, "SignatureDoesNotMatch"), (bucket, "NoSuchBucket"), (scheme, "ftp"), (http, "")]
    {
        let error = ObjectBlobs::connect(&options).await.expect_err("refused").to_string();
        assert!(error.contains(word) && !error.contains("wrong-secret"), "{error}");
    }
}
