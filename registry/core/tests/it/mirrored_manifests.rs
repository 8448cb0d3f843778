//! Manifests that come through a mirror: fetched once, validated in time, stale when there is nothing better.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use registry_core::{CoreError, Limits, PulledManifest, UpstreamError};
use registry_types::{Digest, Reference};
use tempfile::TempDir;

use super::{
    TestRegistry,
    fake_upstream::{Asked, Fake, away, mirrors},
    grant, image, registry_with,
};

const REPOSITORY: &str = "mirror/app";

async fn mirror(upstream: &Fake, revalidate: Duration) -> (TestRegistry, TempDir) {
    let (registry, _, folder) = registry_with(Limits::default()).await;
    (registry.with_mirrors(mirrors(upstream, revalidate)), folder)
}

fn manifest(text: &str) -> Bytes {
    image(&Digest::sha256(text.as_bytes()))
}

async fn pull(registry: &TestRegistry, reference: &str) -> Result<PulledManifest, CoreError> {
    registry.pull_manifest(&grant(REPOSITORY), &reference.parse().unwrap()).await
}

fn head(tag: &str) -> Asked {
    Asked::Head(tag.to_owned())
}

fn get(reference: impl ToString) -> Asked {
    Asked::Manifest(reference.to_string())
}

#[tokio::test]
async fn many_clients_ask_once_and_get_the_same_bytes() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream, Duration::from_secs(60)).await;
    let bytes = manifest("one");
    let digest = upstream.add_manifest("v1", &bytes);
    for pulled in join_all((0..16).map(|_| pull(&registry, "v1"))).await {
        let pulled = pulled.unwrap();
        assert_eq!((pulled.record.digest, &pulled.record.bytes, pulled.stale), (digest, &bytes, None));
    }
    pull(&registry, &digest.to_string()).await.unwrap();
    assert_eq!(upstream.asked(), [get("v1")]);
    // By digest alone it comes too.
    let other = upstream.add_manifest("v2", &manifest("two"));
    assert_eq!(pull(&registry, &other.to_string()).await.unwrap().record.digest, other);
    assert_eq!(upstream.asked(), [get("v1"), get(other)]);
}

#[tokio::test]
async fn a_tag_is_validated_when_its_time_is_over() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream, Duration::ZERO).await;
    let first = upstream.add_manifest("v1", &manifest("one"));
    assert_eq!(pull(&registry, "v1").await.unwrap().record.digest, first);
    assert_eq!(pull(&registry, "v1").await.unwrap().record.digest, first);
    let second = upstream.add_manifest("v1", &manifest("two"));
    let pulled = pull(&registry, "v1").await.unwrap();
    assert_eq!((pulled.record.digest, pulled.stale), (second, None));
    assert_eq!(upstream.asked(), [get("v1"), head("v1"), head("v1"), get(second)]);
    // Back to what is here already: only the tag moves.
    upstream.add_manifest("v1", &manifest("one"));
    assert_eq!(pull(&registry, "v1").await.unwrap().record.digest, first);
    assert_eq!(upstream.asked().len(), 5);
    let tagged = registry.manifest(&grant(REPOSITORY), &"v1".parse().unwrap()).await.unwrap();
    assert_eq!(tagged.digest, first);
}

#[tokio::test]
async fn a_tag_is_served_stale_while_the_upstream_cannot_say() {
    for error in [away(), UpstreamError::Busy { retry_after: Some(Duration::from_secs(600)) }] {
        let upstream = Fake::new();
        let (registry, _folder) = mirror(&upstream, Duration::ZERO).await;
        let digest = upstream.add_manifest("v1", &manifest("one"));
        pull(&registry, "v1").await.unwrap();
        upstream.state().error = Some(error.clone());
        tokio::time::sleep(Duration::from_millis(30)).await;
        for _ in 0..3 {
            let pulled = pull(&registry, "v1").await.unwrap();
            let stale = pulled.stale.expect("nobody said that it is the upstream's");
            assert_eq!(pulled.record.digest, digest);
            assert!(stale.age >= Duration::from_millis(30) && stale.age < Duration::from_secs(60));
        }
        // What is here by digest is right whatever the upstream says.
        assert_eq!(pull(&registry, &digest.to_string()).await.unwrap().stale, None);
        let missing = pull(&registry, "v2").await.unwrap_err();
        let CoreError::Upstream(failure) = missing else { panic!("{missing:?}") };
        assert_eq!(failure.error.to_string(), error.to_string());
        assert_eq!(upstream.asked(), [get("v1"), head("v1")], "it is left alone");
    }
}

#[tokio::test]
async fn after_a_restart_stored_tags_are_still_served_stale() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream, Duration::from_secs(60)).await;
    upstream.add_manifest("v1", &manifest("one"));
    pull(&registry, "v1").await.unwrap();
    upstream.state().error = Some(away());
    let restarted = registry.with_mirrors(mirrors(&upstream, Duration::from_secs(60)));
    assert!(pull(&restarted, "v1").await.unwrap().stale.is_some());
}

#[tokio::test]
async fn refusals_are_remembered_for_a_while_and_said_again() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream, Duration::ZERO).await;
    for _ in 0..3 {
        let missing = pull(&registry, "none").await;
        assert!(matches!(missing, Err(CoreError::ManifestUnknown { .. })));
    }
    assert_eq!(upstream.asked(), [get("none")]);
    upstream.add_manifest("v1", &manifest("one"));
    pull(&registry, "v1").await.unwrap();
    // Who may not read it any more upstream does not read it here either.
    upstream.state().error = Some(UpstreamError::Denied { reason: "not yours".to_owned() });
    for _ in 0..3 {
        let refused = pull(&registry, "v1").await.unwrap_err();
        assert!(refused.to_string().contains("not yours"), "{refused}");
    }
    assert_eq!(upstream.asked(), [get("none"), get("v1"), head("v1")]);
}

#[tokio::test]
async fn what_is_no_manifest_is_not_stored() {
    let upstream = Fake::new();
    let (registry, _folder) = mirror(&upstream, Duration::ZERO).await;
    for bytes in [Bytes::from_static(b"no JSON"), vec![b' '; registry.limits().manifest_bytes + 1].into()] {
        upstream.add_manifest("v1", &bytes);
        let refused = pull(&registry, "v1").await.unwrap_err();
        assert!(matches!(
            &refused,
            CoreError::Upstream(failure) if matches!(failure.error, UpstreamError::Unusable { .. })
        ));
    }
    let reference: Reference = "v1".parse().unwrap();
    assert!(registry.manifest(&grant(REPOSITORY), &reference).await.is_err());
}
