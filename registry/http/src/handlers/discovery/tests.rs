//! The referrers list over the real stores.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use registry_auth::Identity;
use registry_blobs::LocalBlobs;
use registry_core::{Limits, ManifestPush};
use registry_metadata::SqliteMetadata;
use serde_json::Value;

use super::*;

const MIB: usize = 1 << 20;

type TestRegistry = Registry<SqliteMetadata, LocalBlobs>;

async fn registry() -> (TestRegistry, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let metadata = SqliteMetadata::open(&folder.path().join("metadata.sqlite")).unwrap();
    let blobs = LocalBlobs::in_directory(folder.path().to_owned()).await.unwrap();
    (Registry::new(metadata, blobs, Limits::default()), folder)
}

fn access() -> Access {
    Access::unrestricted(Identity::anonymous())
}

fn name() -> RepositoryName {
    "team/app".parse().unwrap()
}

fn subject() -> Digest {
    Digest::sha256(b"subject")
}

/// Pushes one referrer for each of `lengths`, with so many bytes of annotations.
async fn push_referrers(registry: &TestRegistry, lengths: &[usize]) -> Vec<String> {
    let config = Digest::sha256(b"{}");
    let body = Box::pin(stream::iter([Ok(Bytes::from_static(b"{}"))]));
    registry.push_blob(&access().grant(&name()).unwrap(), body, config).await.unwrap();
    let mut pushed = Vec::new();
    for (number, length) in lengths.iter().enumerate() {
        let manifest = json!({
            "schemaVersion": 2,
            "artifactType": "application/vnd.example.sbom+json",
            "config": { "mediaType": MediaType::OCI_EMPTY, "digest": config, "size": 2 },
            "layers": [],
            "subject": { "mediaType": MediaType::OCI_MANIFEST, "digest": subject(), "size": 1 },
            "annotations": { "n": number.to_string(), "k": "x".repeat(*length) },
        });
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::sha256(&bytes);
        let push = ManifestPush {
            reference: digest.into(),
            media_type: Some(MediaType::known(MediaType::OCI_MANIFEST)),
            bytes,
            tags: Vec::new(),
        };
        registry.push_manifest(&access().grant(&name()).unwrap(), push).await.unwrap();
        pushed.push(digest.to_string());
    }
    pushed
}

/// The answer to one request: its `Link`'s query, and the body.
async fn page(registry: &TestRegistry, query: &str) -> (Option<String>, Bytes) {
    let reply = referrers(registry, &access(), &Query::parse(query), (&name(), &subject())).await.unwrap();
    assert_eq!(reply.status(), StatusCode::OK);
    let path = format!("</v2/team/app/referrers/{}?", subject());
    let next = reply.headers().get(header::LINK).map(|link| {
        let link = link.to_str().unwrap();
        let target = link.strip_prefix(&path).and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        target.unwrap_or_else(|| panic!("{link}")).to_owned()
    });
    (next, reply.into_body().collect().await.unwrap().to_bytes())
}

/// Follows the links from `query` on; the digests listed on each page.
async fn pages(registry: &TestRegistry, query: &str) -> Vec<Vec<String>> {
    let (mut pages, mut next) = (Vec::new(), Some(query.to_owned()));
    while let Some(query) = next {
        let (following, body) = page(registry, &query).await;
        assert!(body.len() <= 4 * MIB + 1024, "a page has {} bytes", body.len());
        let index: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(MediaType::OCI_INDEX)));
        let listed = index["manifests"].as_array().unwrap();
        assert!(
            listed.iter().all(|entry| entry["annotations"]["k"].is_string()),
            "an entry lost annotations"
        );
        pages.push(listed.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect());
        next = following;
    }
    pages
}

#[tokio::test]
async fn a_long_page_takes_room_until_it_is_sent() {
    let (registry, _folder) = registry().await;
    let _alone = crate::room::ALONE.lock().await;
    push_referrers(&registry, &[3 * MIB, 10]).await;
    let most_free = || (1..=16).rev().find(|size| Room::now(size * MIB).is_some()).unwrap_or(0);
    let (next, long) = page(&registry, "n=1").await;
    assert_eq!(most_free(), 12, "a page of 3 MiB is held and takes no room, or too much");
    let (_, short) = page(&registry, &next.unwrap()).await;
    assert_eq!(most_free(), 12, "a short page took room");
    drop((long, short));
    assert_eq!(most_free(), 16);
}

#[tokio::test]
async fn long_annotations_make_more_pages_and_no_long_answer() {
    let (registry, _folder) = registry().await;
    let _alone = crate::room::ALONE.lock().await;
    let longest = 4 * MIB - 1200;
    let pushed = push_referrers(&registry, &[longest, longest, MIB, MIB, 10]).await;
    for filter in ["", "artifactType=application%2Fvnd.example.sbom%2Bjson"] {
        let pages = pages(&registry, filter).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 3]);
        assert_eq!(pages.concat(), pushed);
    }
}

#[tokio::test]
async fn the_link_keeps_filter_and_page_size() {
    let (registry, _folder) = registry().await;
    let pushed = push_referrers(&registry, &[1; 5]).await;
    assert_eq!(pages(&registry, "").await, [&pushed[..]]);
    assert_eq!(pages(&registry, "n=2").await, [&pushed[..2], &pushed[2..4], &pushed[4..]]);
    assert_eq!(pages(&registry, "n=0").await.len(), 5);
    let filtered = "artifactType=application%2Fvnd.example.sbom%2Bjson&n=3";
    let (next, _) = page(&registry, filtered).await;
    let next = Query::parse(&next.unwrap());
    assert_eq!(next.get("artifactType"), Some("application/vnd.example.sbom+json"));
    assert_eq!(next.get("n"), Some("3"));
    assert_eq!(pages(&registry, filtered).await, [&pushed[..3], &pushed[3..]]);
}

#[tokio::test]
async fn a_marker_that_no_link_gave_is_refused() {
    let (registry, _folder) = registry().await;
    for query in ["last=sha256:00", "last=1x", "n=-1"] {
        let refused = referrers(&registry, &access(), &Query::parse(query), (&name(), &subject())).await;
        assert!(refused.is_err(), "{query} was taken");
    }
}
