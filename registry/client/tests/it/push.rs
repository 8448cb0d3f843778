//! Pushes: one request when all goes well, from the true offset when it does not, mounted where possible.

use std::io::Write as _;

use bytes::Bytes;
use futures_util::stream;
use http::header;
use registry_client::{BlobContent, Error};
use registry_types::{Digest, MediaType, Reference, Tag};

use crate::fake::{Answer, Fake, Trick, answer, builder, content, text};

fn pieces(content: &Bytes, length: usize) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send {
    let pieces: Vec<_> = content.chunks(length).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    stream::iter(pieces)
}

#[tokio::test]
async fn a_blob_goes_up_in_one_request_from_memory_and_from_a_file() {
    let fake = Fake::start().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for (length, from_file) in [(0, false), (700_000, false), (1_300_000, true)] {
        let content = content(length);
        let digest = Digest::sha256(&content);
        let blob = if from_file {
            file.write_all(&content).unwrap();
            BlobContent::open(file.path()).await.unwrap()
        } else {
            BlobContent::bytes(content.clone())
        };
        fake.client().upload(&digest, &blob).await.unwrap();
        assert_eq!(fake.blob(&digest).unwrap(), content);
    }
    assert_eq!((fake.seen("POST", "uploads").len(), fake.seen("PATCH", "").len()), (3, 0));
    assert_eq!(fake.seen("PUT", "uploads")[2].header("content-length"), Some("1300000"));
}

#[tokio::test]
async fn a_cut_upload_goes_on_from_the_registry_s_offset() {
    // The registry keeps 4000 bytes of the first request and 100 of the next.
    let fake = Fake::tricky(|seen| match seen.nth {
        0 if seen.is("PUT", "uploads") => Some(Trick::CutRequest(4000)),
        0 if seen.is("PATCH", "uploads") => Some(Trick::CutRequest(100)),
        _ => None,
    })
    .await;
    let content = content(50_000);
    let digest = Digest::sha256(&content);
    fake.client().upload(&digest, &BlobContent::bytes(content.clone())).await.unwrap();
    assert_eq!(fake.blob(&digest).unwrap(), content);
    let ranges: Vec<_> = fake
        .seen("PATCH", "uploads")
        .iter()
        .map(|seen| seen.header("content-range").unwrap().to_owned())
        .collect();
    assert_eq!(ranges, ["4000-49999", "4100-49999"]);
    assert_eq!(fake.seen("POST", "uploads").len(), 1);
}

#[tokio::test]
async fn a_lost_session_starts_anew() {
    let fake = Fake::tricky(|seen| match seen.nth {
        0 if seen.is("PUT", "uploads/0") => Some(Trick::Hang),
        _ if seen.is("GET", "uploads/0") => Some(Trick::Answer(text(answer(404), ""))),
        _ => None,
    })
    .await;
    let content = content(9000);
    let digest = Digest::sha256(&content);
    fake.client().upload(&digest, &BlobContent::bytes(content.clone())).await.unwrap();
    assert_eq!(fake.blob(&digest).unwrap(), content);
    assert_eq!(fake.seen("POST", "uploads").len(), 2);
}

#[tokio::test]
async fn a_registry_that_forgets_each_upload_is_given_up_on() {
    let fake = Fake::tricky(|seen| {
        if seen.is("GET", "uploads/") {
            return Some(Trick::Answer(text(answer(404), "")));
        }
        seen.is("PUT", "uploads").then_some(Trick::Hang)
    })
    .await;
    let content = content(9000);
    let blob = BlobContent::bytes(content.clone());
    let error = fake.client().upload(&Digest::sha256(&content), &blob).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert!(fake.seen("POST", "uploads").len() <= 6, "{}", fake.seen("POST", "uploads").len());
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_upload() {
    let fake = Fake::tricky(|seen| seen.is("PUT", "uploads").then_some(Trick::LoseAnswer)).await;
    let content = content(9000);
    let digest = Digest::sha256(&content);
    fake.client().upload(&digest, &BlobContent::bytes(content.clone())).await.unwrap();
    let (digest, _) = fake.client().upload_stream(pieces(&content, 999), Some(&digest)).await.unwrap();
    assert_eq!(fake.blob(&digest).unwrap(), content);
}

#[tokio::test]
async fn chunks_are_as_long_as_the_registry_asks() {
    fn at_least(answer: &mut Answer) {
        answer.headers_mut().insert("oci-chunk-min-length", "3000".parse().unwrap());
    }
    let fake = Fake::tricky(|seen| seen.is("POST", "uploads").then_some(Trick::Change(at_least))).await;
    let content = content(10_000);
    let digest = Digest::sha256(&content);
    let client = builder().chunk_length(1000).build().unwrap();
    fake.repository(&client).upload_chunked(&digest, &BlobContent::bytes(content.clone())).await.unwrap();
    assert_eq!(fake.blob(&digest).unwrap(), content);
    let sizes = |seen: Vec<crate::fake::Seen>| -> Vec<String> {
        seen.iter().map(|seen| seen.header("content-length").unwrap().to_owned()).collect()
    };
    assert_eq!(sizes(fake.seen("PATCH", "uploads")), ["3000", "3000", "3000", "1000"]);
    fake.repository(&client).upload_stream(pieces(&content, 700), None).await.unwrap();
    assert_eq!(sizes(fake.seen("PATCH", "uploads"))[4..], ["3000", "3000", "3000", "1000"]);
}

#[tokio::test]
async fn a_stream_of_unknown_length_survives_cuts() {
    let fake = Fake::tricky(|seen| match seen.nth {
        // More cuts of one chunk than there are retries, each a little further.
        1..=5 if seen.is("PATCH", "uploads") => Some(Trick::CutRequest(500)),
        7 if seen.is("PATCH", "uploads") => Some(Trick::LoseAnswer),
        _ => None,
    })
    .await;
    let content = content(25_000);
    let client = builder().chunk_length(4096).build().unwrap();
    let (digest, length) =
        fake.repository(&client).upload_stream(pieces(&content, 1000), None).await.unwrap();
    assert_eq!((digest, length), (Digest::sha256(&content), 25_000));
    assert_eq!(fake.blob(&digest).unwrap(), content);
    let (digest, length) =
        fake.repository(&client).upload_stream(pieces(&Bytes::new(), 1), None).await.unwrap();
    assert_eq!((digest, length), (Digest::sha256(b""), 0));
    assert!(fake.blob(&digest).is_some());
    // The offset behind one byte looks like the one of nothing.
    let client = builder().chunk_length(1).build().unwrap();
    let two = Bytes::from_static(b"ab");
    let (digest, _) = fake.repository(&client).upload_stream(pieces(&two, 2), None).await.unwrap();
    assert_eq!(fake.blob(&digest).unwrap(), two);
}

#[tokio::test]
async fn a_stream_with_another_digest_or_an_error_leaves_nothing() {
    let fake = Fake::start().await;
    let content = content(5000);
    let expected = Digest::sha256(b"something else");
    let error = fake.client().upload_stream(pieces(&content, 999), Some(&expected)).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let broken = stream::iter([Ok(content), Err(std::io::Error::other("the disk is gone"))]);
    let error = fake.client().upload_stream(broken, None).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(fake.state.blobs.lock().unwrap().is_empty());
    assert!(fake.state.uploads.lock().unwrap().is_empty(), "the sessions were not cancelled");
}

#[tokio::test]
async fn wrong_content_is_refused_and_not_repeated() {
    let fake = Fake::start().await;
    let error =
        fake.client().upload(&Digest::sha256(b"other"), &BlobContent::bytes(content(100))).await.unwrap_err();
    assert!(
        matches!(&error, Error::Registry { status: 400, code, .. } if code == "DIGEST_INVALID"),
        "{error}"
    );
    assert_eq!(fake.seen("PUT", "uploads").len(), 1);
}

#[tokio::test]
async fn an_answer_that_names_another_digest_is_no_success() {
    fn lie(answer: &mut Answer) {
        let other = Digest::sha256(b"other").to_string();
        answer.headers_mut().insert("docker-content-digest", other.parse().unwrap());
    }
    let fake = Fake::tricky(|seen| (seen.method == "PUT").then_some(Trick::Change(lie))).await;
    let content = content(100);
    let digest = Digest::sha256(&content);
    let error = fake.client().upload(&digest, &BlobContent::bytes(content)).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    let manifest = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    let index = MediaType::known(MediaType::OCI_INDEX);
    let error = fake.client().put_manifest(&"v1".parse().unwrap(), manifest, &index).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_digest_is_checked_by_asking() {
    fn bare(answer: &mut Answer) {
        answer.headers_mut().remove("docker-content-digest");
    }
    let fake = Fake::tricky(|seen| (seen.method == "PUT").then_some(Trick::Change(bare))).await;
    let content = content(100);
    let digest = Digest::sha256(&content);
    fake.client().upload(&digest, &BlobContent::bytes(content)).await.unwrap();
    assert_eq!(fake.seen("HEAD", "/blobs/").len(), 1);
    // A registry that says 201 and keeps nothing.
    let liar =
        Fake::tricky(|seen| seen.is("PUT", "uploads").then(|| Trick::Answer(text(answer(201), "")))).await;
    let error = liar.client().upload(&digest, &BlobContent::bytes(Bytes::new())).await.unwrap_err();
    assert!(matches!(error, Error::InvalidReply { .. }), "{error}");
}

#[tokio::test]
async fn a_proxy_that_bounds_requests_gets_chunks() {
    let fake = Fake::tricky(|seen| {
        let long = seen.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0) > 5000;
        long.then(|| Trick::Answer(text(answer(413), "too large")))
    })
    .await;
    let content = content(20_000);
    let digest = Digest::sha256(&content);
    let client = builder().chunk_length(4000).build().unwrap();
    fake.repository(&client).upload(&digest, &BlobContent::bytes(content.clone())).await.unwrap();
    assert_eq!(fake.blob(&digest).unwrap(), content);
}

#[tokio::test]
async fn an_upload_sent_elsewhere_carries_no_authorization() {
    let other = Fake::start().await;
    other.state.uploads.lock().unwrap().insert("/v2/root/app/blobs/uploads/9".to_owned(), Vec::new());
    let place = format!("http://{}/v2/root/app/blobs/uploads/9?state=a%2Fb", other.address);
    let fake = Fake::tricky(move |seen| {
        (seen.is("POST", "uploads") && seen.header("authorization").is_some())
            .then(|| Trick::Answer(text(answer(202).header(header::LOCATION, &place), "")))
    })
    .await;
    fake.challenge(None);
    let content = content(100);
    let digest = Digest::sha256(&content);
    fake.client().upload(&digest, &BlobContent::bytes(content)).await.unwrap();
    assert!(other.blob(&digest).is_some());
    assert_eq!(other.seen("PUT", "uploads")[0].header("authorization"), None);
}

#[tokio::test]
async fn a_useless_location_is_an_error_that_says_so() {
    for location in [None, Some("http://["), Some("ftp://127.0.0.1/x"), Some("http://192.0.2.1/x")] {
        let fake = Fake::tricky(move |seen| {
            let mut builder = answer(202);
            if let Some(location) = location {
                builder = builder.header(header::LOCATION, location);
            }
            seen.is("POST", "uploads").then(|| Trick::Answer(text(builder, "")))
        })
        .await;
        let blob = BlobContent::bytes(content(1));
        let error = fake.client().upload(&Digest::sha256(b"x"), &blob).await.unwrap_err();
        let plain = location.is_some_and(|location| location.contains("192.0.2.1"));
        match error {
            Error::InsecureRefused { host } => assert!(plain && host == "192.0.2.1"),
            Error::InvalidReply { reason, .. } => assert!(!plain && reason.contains("Location"), "{reason}"),
            other => panic!("{location:?}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_proxy_s_wrong_scheme_in_location_is_mended() {
    fn https(answer: &mut Answer) {
        let place = answer.headers()["location"].to_str().unwrap().to_owned();
        let host = answer.headers()["x-host"].to_str().unwrap().to_owned();
        answer.headers_mut().insert("location", format!("https://{host}{place}").parse().unwrap());
    }
    let fake = Fake::tricky(|seen| {
        if !seen.is("POST", "uploads") {
            return None;
        }
        let host = seen.header("host").unwrap();
        let mut right = text(
            answer(202).header("location", "/v2/root/app/blobs/uploads/7?state=a%2Fb").header("x-host", host),
            "",
        );
        https(&mut right);
        Some(Trick::Answer(right))
    })
    .await;
    fake.state.uploads.lock().unwrap().insert("/v2/root/app/blobs/uploads/7".to_owned(), Vec::new());
    let content = content(10);
    let digest = Digest::sha256(&content);
    fake.client().upload(&digest, &BlobContent::bytes(content)).await.unwrap();
    assert!(fake.blob(&digest).is_some());
}

#[tokio::test]
async fn one_manifest_goes_under_every_tag_with_the_same_digest() {
    let fake = Fake::start().await;
    let manifest = Bytes::from_static(br#"{"schemaVersion":2,  "manifests":[]}"#);
    let index = MediaType::known(MediaType::OCI_INDEX);
    let tags: Vec<Tag> = ["main", "latest", "7c0b8624"].map(|tag| tag.parse().unwrap()).into();
    let digest = fake.client().put_manifest_tags(manifest.clone(), &index, &tags).await.unwrap();
    assert_eq!(digest, Digest::sha256(&manifest));
    for tag in tags {
        let there = fake.client().manifest(&Reference::Tag(tag), &[]).await.unwrap();
        assert_eq!((there.bytes, there.digest), (manifest.clone(), digest));
    }
    let error = fake
        .client()
        .put_manifest(&Reference::Digest(Digest::sha256(b"other")), manifest, &index)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_raw_request_is_answered_as_it_is() {
    let fake = Fake::start().await;
    fake.challenge(None);
    let repository = fake.client();
    let reply =
        repository.raw(http::Method::POST, "blobs/uploads/", http::HeaderMap::new(), "").await.unwrap();
    assert_eq!(reply.status, 202);
    let place = reply.header("location").unwrap();
    let reply = repository.raw(http::Method::GET, place, http::HeaderMap::new(), "").await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("range")), (204, Some("0-0")));
    let reply =
        repository.raw(http::Method::GET, "manifests/none", http::HeaderMap::new(), "").await.unwrap();
    assert_eq!(reply.status, 404);
    assert!(reply.body.starts_with(b"{\"errors\""));
}

/// Callers spawn these: each future must be able to move to another thread.
#[tokio::test]
async fn transfers_can_be_spawned() {
    let fake = Fake::start().await;
    let content = content(100_000);
    let source = fake.hold(&content);
    let target = Fake::start().await;
    let (from, to) = (fake.client(), target.client());
    let digest = source.digest;
    let copied = tokio::spawn(async move {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        from.blob_to_file(&source, &path).await?;
        to.push_blob(&digest, &BlobContent::open(&path).await?, Some(&"root/base".parse()?)).await?;
        let pieces = from.blob_stream(&source).await?;
        to.upload_stream(pieces, Some(&digest)).await?;
        let image = registry_client::Source::Registry(registry_client::RegistrySource {
            repository: from,
            reference: "v1".parse()?,
        });
        if let Ok(image) = image.resolve(&registry_types::Platform::host()).await {
            panic!("there is no image, and {image:?} came");
        }
        let manifest = registry_client::Manifest {
            bytes: Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#),
            media_type: MediaType::known(MediaType::OCI_INDEX),
            digest: Digest::sha256(br#"{"schemaVersion":2,"manifests":[]}"#),
        };
        image.copy_to(&manifest, &to, &[]).await?;
        Ok::<_, Error>(())
    });
    copied.await.unwrap().unwrap();
    assert_eq!(target.blob(&digest).unwrap(), content);
}
