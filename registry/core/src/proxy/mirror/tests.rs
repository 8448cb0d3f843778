use futures_util::FutureExt;

use super::*;
use crate::{UpstreamAnswer, UpstreamBlob, UpstreamManifest};

/// An upstream that nobody should ask.
#[derive(Debug)]
struct Silent;

impl Upstream for Silent {
    fn manifest_digest<'a>(
        &'a self,
        _: &'a RepositoryName,
        _: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<Digest>> {
        async { Ok(None) }.boxed()
    }

    fn manifest<'a>(
        &'a self,
        _: &'a RepositoryName,
        _: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<UpstreamManifest>> {
        async { Ok(None) }.boxed()
    }

    fn blob_size<'a>(&'a self, _: &'a RepositoryName, _: &'a Digest) -> UpstreamAnswer<'a, Option<u64>> {
        async { Ok(None) }.boxed()
    }

    fn blob<'a>(
        &'a self,
        _: &'a RepositoryName,
        _: &'a Digest,
        _: u64,
    ) -> UpstreamAnswer<'a, Option<UpstreamBlob>> {
        async { Ok(None) }.boxed()
    }
}

fn mirror(prefix: &str, namespaces: &[&str], docker_hub: bool) -> Mirror {
    let settings = MirrorSettings {
        prefix: prefix.parse().unwrap(),
        name: prefix.to_owned(),
        namespaces: namespaces.iter().map(ToString::to_string).collect(),
        docker_hub,
        revalidate: Duration::from_secs(60),
        negative: Duration::from_secs(60),
    };
    Mirror::new(settings, Arc::new(Silent))
}

fn remote(mirrors: &Mirrors, name: &str) -> Option<(String, String)> {
    let origin = mirrors.origin(&name.parse().unwrap())?;
    Some((origin.mirror.settings.name.clone(), origin.remote.to_string()))
}

#[test]
fn the_longest_prefix_names_the_upstream() {
    let mirrors = Mirrors::new(vec![
        mirror("cache", &[], false),
        mirror("docker.io", &["docker.io", "registry-1.docker.io"], true),
        mirror("cache/inner", &[], false),
    ]);
    let of = |name| remote(&mirrors, name);
    let pair = |upstream: &str, name: &str| Some((upstream.to_owned(), name.to_owned()));
    assert_eq!(of("cache/app"), pair("cache", "app"));
    assert_eq!(of("cache/inner/app/web"), pair("cache/inner", "app/web"));
    assert_eq!(of("docker.io/alpine"), pair("docker.io", "library/alpine"));
    assert_eq!(of("docker.io/library/alpine"), pair("docker.io", "library/alpine"));
    assert_eq!(of("docker.io/org/app"), pair("docker.io", "org/app"));
    for own in ["cache", "caches/app", "app", "docker.iot/alpine"] {
        assert_eq!(of(own), None, "{own}");
    }
    let named = |host: &str, name: &str| {
        mirrors.by_namespace(host, &name.parse().unwrap()).map(|name| name.to_string())
    };
    assert_eq!(named("docker.io", "library/alpine").as_deref(), Some("docker.io/library/alpine"));
    assert_eq!(named("Registry-1.Docker.io", "a/b").as_deref(), Some("docker.io/a/b"));
    assert_eq!(named("quay.io", "a/b"), None);
}

#[test]
fn a_mirror_of_everything_keeps_names() {
    let mirrors = Mirrors::new(vec![mirror("*", &["docker.io"], true), mirror("quay.io", &[], false)]);
    assert_eq!(remote(&mirrors, "alpine"), Some(("*".to_owned(), "library/alpine".to_owned())));
    assert_eq!(remote(&mirrors, "quay.io/a"), Some(("quay.io".to_owned(), "a".to_owned())));
    let local = mirrors.by_namespace("docker.io", &"library/alpine".parse().unwrap());
    assert_eq!(local, Some("library/alpine".parse().unwrap()));
}

#[test]
fn a_busy_upstream_is_left_alone_as_long_as_it_says() {
    let mirror = mirror("a", &[], false);
    mirror.learn(&Ok(()));
    assert_eq!(mirror.open(), Ok(()));
    let asked = Duration::from_secs(100);
    mirror.learn::<()>(&Err(UpstreamError::Busy { retry_after: Some(asked) }));
    let Err(UpstreamError::Busy { retry_after: Some(rest) }) = mirror.open() else { panic!("it was asked") };
    assert!(rest <= asked && rest > asked / 2);
    mirror.learn::<()>(&Err(UpstreamError::Busy { retry_after: Some(Duration::from_secs(1 << 40)) }));
    let Err(UpstreamError::Busy { retry_after: Some(rest) }) = mirror.open() else { panic!("it was asked") };
    assert!(rest <= LONGEST_PAUSE);
    mirror.learn::<()>(&Err(UpstreamError::Busy { retry_after: Some(Duration::ZERO) }));
    assert_eq!(mirror.open(), Ok(()));
    // A refusal says nothing about the next request.
    mirror.learn::<()>(&Err(UpstreamError::Denied { reason: String::new() }));
    assert_eq!(mirror.open(), Ok(()));
}
