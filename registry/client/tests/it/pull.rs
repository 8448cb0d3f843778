//! Pulls: verified, mended after cuts, in parallel, through redirects.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header;
use registry_client::{BlobStream, Error};
use registry_types::{Digest, MediaType, Platform, Reference};

use crate::fake::{Answer, Fake, Trick, answer, builder, content, text};

async fn read(mut stream: BlobStream) -> (Vec<u8>, Option<Error>) {
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => all.extend_from_slice(&piece),
            Err(error) => return (all, Some(error)),
        }
    }
    (all, None)
}

const IMAGE: &str = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#;

#[tokio::test]
async fn a_manifest_comes_byte_for_byte_with_its_digest() {
    let fake = Fake::start().await;
    let digest = fake.hold_manifest("v1", MediaType::OCI_MANIFEST, IMAGE);
    for reference in ["v1".parse().unwrap(), Reference::Digest(digest)] {
        let manifest = fake.client().manifest(&reference, &[]).await.unwrap();
        assert_eq!((manifest.bytes.as_ref(), manifest.digest), (IMAGE.as_bytes(), digest));
        assert_eq!(manifest.media_type.as_str(), MediaType::OCI_MANIFEST);
        let head = fake.client().manifest_head(&reference, &[]).await.unwrap().unwrap();
        assert_eq!(head, manifest.descriptor());
    }
    let accept = fake.seen("GET", "/manifests/v1")[0].header("accept").unwrap().to_owned();
    assert!(accept.contains(MediaType::OCI_INDEX) && accept.contains(MediaType::DOCKER_MANIFEST));
    let missing: Reference = "v2".parse().unwrap();
    assert!(fake.client().manifest_head(&missing, &[]).await.unwrap().is_none());
    assert!(fake.client().manifest(&missing, &[]).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_lying_manifest_is_refused() {
    fn lie(answer: &mut Answer) {
        let other = Digest::sha256(b"other").to_string();
        answer.headers_mut().insert("docker-content-digest", other.parse().unwrap());
    }
    let fake = Fake::tricky(|seen| seen.is("GET", "/manifests/v1").then_some(Trick::Change(lie))).await;
    fake.hold_manifest("v1", MediaType::OCI_MANIFEST, IMAGE);
    let error = fake.client().manifest(&"v1".parse().unwrap(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    // The bytes behind a digest are other ones, and the header goes along with the lie.
    let asked = Digest::sha256(b"asked");
    let entry = (MediaType::OCI_MANIFEST.to_owned(), Bytes::from_static(IMAGE.as_bytes()));
    fake.state.manifests.lock().unwrap().insert(asked.to_string(), entry);
    let error = fake.client().manifest(&Reference::Digest(asked), &[]).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { expected, .. } if expected == asked), "{error}");
}

#[tokio::test]
async fn an_image_is_chosen_out_of_an_index() {
    let fake = Fake::start().await;
    let child = fake.hold_manifest("child", MediaType::OCI_MANIFEST, IMAGE);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{child}","size":{},"platform":{{"os":"linux","architecture":"arm64"}}}}]}}"#,
        MediaType::OCI_MANIFEST,
        IMAGE.len()
    );
    let index = fake.hold_manifest("v1", MediaType::OCI_INDEX, &index);
    let reference = "v1".parse().unwrap();
    let arm = Platform::new("linux", "arm64", None);
    let image = fake.client().image_manifest(&reference, &arm).await.unwrap();
    assert_eq!((image.manifest.digest, image.index.unwrap().digest), (child, index));
    let amd = Platform::new("linux", "amd64", None);
    let error = fake.client().image_manifest(&reference, &amd).await.unwrap_err();
    assert!(matches!(error, Error::PlatformMissing { .. }), "{error}");
    assert!(error.to_string().contains("linux/arm64"), "{error}");
}

#[tokio::test]
async fn a_cut_stream_goes_on_where_it_stood() {
    let fake = Fake::tricky(|seen| match seen.nth {
        0..=2 if seen.is("GET", "/blobs/") => Some(Trick::CutAnswer(10_000)),
        _ => None,
    })
    .await;
    let content = content(100_000);
    let descriptor = fake.hold(&content);
    let (got, error) = read(fake.client().blob_stream(&descriptor).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(got, content);
    let ranges: Vec<_> =
        fake.seen("GET", "/blobs/").iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(
        ranges,
        [None, Some("bytes=10000-".into()), Some("bytes=20000-".into()), Some("bytes=30000-".into())]
    );
}

#[tokio::test]
async fn a_cut_stream_goes_on_without_ranges_too() {
    let fake = Fake::tricky(|seen| match seen.nth {
        0 if seen.is("GET", "/blobs/") => Some(Trick::CutAnswer(10_000)),
        _ => Some(Trick::IgnoreRange),
    })
    .await;
    let content = content(50_000);
    let descriptor = fake.hold(&content);
    let (got, error) = read(fake.client().blob_stream(&descriptor).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(got, content);
}

#[tokio::test]
async fn a_registry_that_always_cuts_is_given_up_on() {
    let fake = Fake::tricky(|seen| seen.is("GET", "/blobs/").then_some(Trick::CutAnswer(0))).await;
    let descriptor = fake.hold(&content(1000));
    let (got, error) = read(fake.client().blob_stream(&descriptor).await.unwrap()).await;
    assert!(got.is_empty());
    assert!(matches!(error, Some(Error::Network { .. })), "{error:?}");
    assert_eq!(fake.seen("GET", "/blobs/").len(), 4, "the first try and three more");
}

#[tokio::test]
async fn damaged_bytes_are_never_handed_over_whole() {
    let fake = Fake::start().await;
    let content = content(50_000);
    let descriptor = fake.hold(&content);
    let mut damaged = content.to_vec();
    damaged[49_999] ^= 1;
    fake.state.blobs.lock().unwrap().insert(descriptor.digest.to_string(), damaged.into());
    let (got, error) = read(fake.client().blob_stream(&descriptor).await.unwrap()).await;
    assert!(got.len() < content.len());
    assert!(matches!(error, Some(Error::DigestMismatch { .. })), "{error:?}");
    let folder = tempfile::tempdir().unwrap();
    for ranges in [1, 4] {
        let client = builder().ranges(ranges, 8192).build().unwrap();
        let path = folder.path().join("blob");
        let error = fake.repository(&client).blob_to_file(&descriptor, &path).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
        assert!(!path.exists(), "a damaged file was left");
    }
    let error = fake.client().blob_bytes(&descriptor.digest, 1 << 20).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[tokio::test]
async fn another_length_than_announced_is_refused() {
    let fake = Fake::start().await;
    let mut descriptor = fake.hold(&content(5000));
    for wrong in [4999, 5001] {
        descriptor.size = wrong;
        let error = fake.client().blob_stream(&descriptor).await.unwrap_err();
        assert!(matches!(error, Error::SizeMismatch { .. }), "{error}");
    }
    let error = fake.client().blob_bytes(&descriptor.digest, 4999).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: 4999, .. }), "{error}");
}

#[tokio::test]
async fn a_long_blob_comes_in_ranges_and_a_cut_costs_only_its_rest() {
    let fake = Fake::tricky(|seen| {
        let range = seen.header("range").unwrap_or_default();
        (range == "bytes=16384-24575").then_some(Trick::CutAnswer(1000))
    })
    .await;
    let content = content(100_000);
    let descriptor = fake.hold(&content);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    let client = builder().ranges(4, 8192).build().unwrap();
    fake.repository(&client).blob_to_file(&descriptor, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    let seen = fake.seen("GET", "/blobs/");
    assert_eq!(seen.len(), 100_000_usize.div_ceil(8192) + 1);
    assert!(seen.iter().any(|seen| seen.header("range") == Some("bytes=17384-24575")));
}

#[tokio::test]
async fn without_ranges_a_file_comes_in_one_stream() {
    let fake = Fake::tricky(|_| Some(Trick::IgnoreRange)).await;
    let content = content(100_000);
    let descriptor = fake.hold(&content);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    let client = builder().ranges(4, 8192).build().unwrap();
    fake.repository(&client).blob_to_file(&descriptor, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
}

#[tokio::test]
async fn a_wrong_range_is_noticed_at_once() {
    fn shift(answer: &mut Answer) {
        answer.headers_mut().insert(header::CONTENT_RANGE, "bytes 1-8192/100000".parse().unwrap());
    }
    let fake = Fake::tricky(|seen| seen.header("range").is_some().then_some(Trick::Change(shift))).await;
    let descriptor = fake.hold(&content(100_000));
    let folder = tempfile::tempdir().unwrap();
    let client = builder().ranges(4, 8192).build().unwrap();
    let outcome = fake.repository(&client).blob_to_file(&descriptor, &folder.path().join("blob")).await;
    assert!(matches!(outcome, Err(Error::InvalidReply { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_redirect_to_other_storage_carries_no_authorization() {
    let storage = Fake::start().await;
    let content = content(20_000);
    let descriptor = storage.hold(&content);
    let elsewhere = format!("http://{}/v2/root/app/blobs/{}?signature=x", storage.address, descriptor.digest);
    let fake = Fake::tricky(move |seen| {
        let redirect = || text(answer(307).header(header::LOCATION, &elsewhere), "");
        (seen.is("GET", "/blobs/") && seen.header("authorization").is_some())
            .then(|| Trick::Answer(redirect()))
    })
    .await;
    fake.challenge(None);
    let (got, error) = read(fake.client().blob_stream(&descriptor).await.unwrap()).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(got, content);
    let seen = storage.seen("GET", "/blobs/");
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), None);
}

#[tokio::test]
async fn a_loop_of_redirects_ends() {
    let fake = Fake::tricky(|seen| {
        seen.is("GET", "/blobs/")
            .then(|| Trick::Answer(text(answer(307).header("location", &seen.target), "")))
    })
    .await;
    let error = fake.client().blob_stream(&fake.hold(&content(10))).await.unwrap_err();
    assert!(matches!(error, Error::InvalidReply { .. }), "{error}");
}

#[tokio::test]
async fn a_silent_registry_is_named_in_a_timeout() {
    let fake = Fake::tricky(|seen| {
        if seen.is("GET", "/manifests/") {
            return Some(Trick::Wait(Duration::from_secs(60)));
        }
        seen.is("GET", "/blobs/").then_some(Trick::Stall(500))
    })
    .await;
    let client = builder()
        .retries(0, Duration::ZERO)
        .header_limit(Duration::from_millis(200))
        .connect_limit(Duration::from_millis(200))
        .idle_limit(Duration::from_millis(200))
        .build()
        .unwrap();
    let repository = fake.repository(&client);
    let error = repository.manifest(&"v1".parse().unwrap(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
    assert!(error.to_string().contains(&fake.address.to_string()));
    let (_, error) = read(repository.blob_stream(&fake.hold(&content(1000))).await.unwrap()).await;
    assert!(matches!(error, Some(Error::Timeout { .. })), "{error:?}");
}

#[tokio::test]
async fn a_busy_registry_is_asked_again_when_it_says() {
    let fake = Fake::tricky(|seen| match seen.nth {
        0 if seen.is("GET", "/manifests/") => {
            Some(Trick::Answer(text(answer(429).header("retry-after", "1"), "")))
        }
        1 if seen.is("GET", "/manifests/") => Some(Trick::Answer(text(answer(503), ""))),
        _ => None,
    })
    .await;
    fake.hold_manifest("v1", MediaType::OCI_MANIFEST, IMAGE);
    let start = std::time::Instant::now();
    fake.client().manifest(&"v1".parse().unwrap(), &[]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    let always = Fake::tricky(|seen| {
        seen.is("GET", "/manifests/")
            .then(|| Trick::Answer(text(answer(429).header("retry-after", "86400"), "")))
    })
    .await;
    let error = always.client().manifest(&"v1".parse().unwrap(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::TooManyRequests { retry_after: Some(_), .. }), "{error}");
}

#[tokio::test]
async fn progress_ends_at_the_blob_s_length() {
    use std::sync::{Arc, Mutex};
    #[derive(Default)]
    struct Last(Mutex<Vec<u64>>);
    impl registry_client::Progress for Last {
        fn position(&self, direction: registry_client::Direction, _digest: &Digest, position: u64) {
            assert_eq!(direction, registry_client::Direction::Pull);
            self.0.lock().unwrap().push(position);
        }
    }
    let fake = Fake::start().await;
    let descriptor = fake.hold(&content(100_000));
    let folder = tempfile::tempdir().unwrap();
    for ranges in [1, 4] {
        let last = Arc::new(Last::default());
        let client = builder().ranges(ranges, 8192).progress(last.clone()).build().unwrap();
        let path = folder.path().join("blob");
        fake.repository(&client).blob_to_file(&descriptor, &path).await.unwrap();
        assert_eq!(last.0.lock().unwrap().iter().max(), Some(&100_000));
    }
}
