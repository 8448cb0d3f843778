//! Tags, catalog and referrers.

use bytes::Bytes;
use registry_client::Error;
use registry_types::{Descriptor, Digest, MediaType};

use crate::fake::{Fake, Trick, answer, builder, text};

#[tokio::test]
async fn every_page_of_tags_is_followed() {
    let fake = Fake::tricky(|seen| {
        let page = |link: Option<&str>, body: &str| {
            let mut builder = answer(200);
            if let Some(link) = link {
                builder = builder.header("link", format!("<{link}>; rel=\"next\""));
            }
            Trick::Answer(text(builder, body.to_owned()))
        };
        match seen.target.as_str() {
            "/v2/root/app/tags/list" => Some(page(
                Some("/v2/root/app/tags/list?last=b&n=2"),
                r#"{"name":"root/app","tags":["a","b"]}"#,
            )),
            "/v2/root/app/tags/list?last=b&n=2" => {
                Some(page(Some("list?last=c"), r#"{"name":"root/app","tags":["c"]}"#))
            }
            "/v2/root/app/tags/list?last=c" => Some(page(None, r#"{"name":"root/app","tags":null}"#)),
            "/v2/root/app/tags/list?n=1&last=x" => Some(page(None, r#"{"tags":["y"]}"#)),
            "/v2/_catalog?n=1000" => Some(page(Some("/v2/_catalog?last=b"), r#"{"repositories":["a","b"]}"#)),
            "/v2/_catalog?last=b" => Some(page(None, r#"{"repositories":["c/d"]}"#)),
            "/v2/_catalog?n=5" => Some(page(None, r#"{"repositories":["a/b","c"]}"#)),
            _ => None,
        }
    })
    .await;
    let repository = fake.client();
    let tags: Vec<String> = repository.all_tags().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(tags, ["a", "b", "c"]);
    let page = repository.tags(Some(1), Some(&"x".parse().unwrap())).await.unwrap();
    assert_eq!((page.items[0].as_str(), page.next), ("y", None));
    let client = builder().build().unwrap();
    let page = client.catalog(&fake.host(), Some(5), None).await.unwrap();
    assert_eq!(page.items.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a/b", "c"]);
    let all = client.all_repositories(&fake.host()).await.unwrap();
    assert_eq!(all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b", "c/d"]);
}

#[tokio::test]
async fn a_next_page_elsewhere_is_not_followed() {
    let fake = Fake::tricky(|seen| {
        seen.is("GET", "/tags/list").then(|| {
            let builder = answer(200).header("link", "<http://192.0.2.1/v2/x>; rel=next");
            Trick::Answer(text(builder, r#"{"tags":["a"]}"#))
        })
    })
    .await;
    let error = fake.client().all_tags().await.unwrap_err();
    assert!(matches!(error, Error::InvalidReply { .. }), "{error}");
}

#[tokio::test]
async fn referrers_come_from_the_api_and_are_filtered_here_too() {
    let subject = Digest::sha256(b"subject");
    let entry = |name: &str, kind: &str| {
        format!(
            r#"{{"mediaType":"{}","digest":"{}","size":2,"artifactType":"{kind}"}}"#,
            MediaType::OCI_MANIFEST,
            Digest::sha256(name.as_bytes())
        )
    };
    let body = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        entry("one", "a/signature"),
        entry("two", "a/sbom")
    );
    let fake = Fake::tricky(move |seen| {
        seen.is("GET", "/referrers/").then(|| Trick::Answer(text(answer(200), body.clone())))
    })
    .await;
    let repository = fake.client();
    assert_eq!(repository.referrers(&subject, None).await.unwrap().len(), 2);
    let wanted = "a/sbom".parse().unwrap();
    let found = repository.referrers(&subject, Some(&wanted)).await.unwrap();
    assert_eq!(found.iter().map(|found| found.digest).collect::<Vec<_>>(), [Digest::sha256(b"two")]);
    assert!(fake.seen("GET", "/referrers/")[1].target.ends_with("?artifactType=a%2Fsbom"));
}

#[tokio::test]
async fn without_the_api_referrers_are_kept_under_a_tag() {
    // The fake has no referrers API and does not answer with OCI-Subject.
    let fake = Fake::start().await;
    let repository = fake.client();
    let index = MediaType::known(MediaType::OCI_INDEX);
    let subject = Descriptor::new(MediaType::known(MediaType::OCI_MANIFEST), Digest::sha256(b"subject"), 7);
    let mut pushed = Vec::new();
    for kind in ["a/signature", "a/sbom", "a/signature"] {
        let manifest = serde_json::json!({
            "schemaVersion": 2, "artifactType": kind, "manifests": [], "subject": subject,
        });
        let bytes = Bytes::from(manifest.to_string());
        let digest = Digest::sha256(&bytes);
        repository.put_manifest(&digest.into(), bytes, &index).await.unwrap();
        pushed.push(digest);
    }
    let tag = format!("sha256-{}", subject.digest.hex());
    assert!(fake.state.manifests.lock().unwrap().contains_key(&tag));
    let all = repository.referrers(&subject.digest, None).await.unwrap();
    assert_eq!(
        all.iter().map(|found| found.digest).collect::<Vec<_>>(),
        pushed[..2],
        "the third is the first"
    );
    let wanted = "a/sbom".parse().unwrap();
    assert_eq!(repository.referrers(&subject.digest, Some(&wanted)).await.unwrap().len(), 1);
    assert!(repository.referrers(&Digest::sha256(b"other"), None).await.unwrap().is_empty());
}

#[tokio::test]
async fn every_page_of_referrers_is_followed() {
    let subject = Digest::sha256(b"subject");
    let first = format!("/v2/root/app/referrers/{subject}");
    // The specification lets a registry leave the filter out: the second page has one that was not asked for.
    let page = |names: &[(&str, &str)]| {
        let entries = names.iter().map(|(name, kind)| {
            serde_json::json!({
                "mediaType": MediaType::OCI_MANIFEST, "digest": Digest::sha256(name.as_bytes()), "size": 2,
                "artifactType": kind,
            })
        });
        serde_json::json!({ "schemaVersion": 2, "manifests": entries.collect::<Vec<_>>() }).to_string()
    };
    let pages = [page(&[("one", "a/sbom")]), page(&[("two", "a/sbom"), ("x", "a/other")]), page(&[])];
    let fake = Fake::tricky(move |seen| {
        let rest = seen.target.strip_prefix(&first)?;
        let (body, next) = match rest {
            "" | "?artifactType=a%2Fsbom" => (&pages[0], Some(format!("<{first}?page=2>; rel=\"next\""))),
            "?page=2" => (&pages[1], Some("<?page=3>; rel=\"next\"".to_owned())),
            "?page=3" => (&pages[2], None),
            _ => return None,
        };
        let mut builder = answer(200);
        if let Some(next) = next {
            builder = builder.header("link", next);
        }
        Some(Trick::Answer(text(builder, body.clone())))
    })
    .await;
    let digests = |found: Vec<Descriptor>| found.iter().map(|found| found.digest).collect::<Vec<_>>();
    let named = |names: &[&str]| names.iter().map(|name| Digest::sha256(name.as_bytes())).collect::<Vec<_>>();
    let repository = fake.client();
    let all = repository.referrers(&subject, None).await.unwrap();
    assert_eq!(digests(all), named(&["one", "two", "x"]));
    let wanted = "a/sbom".parse().unwrap();
    let some = repository.referrers(&subject, Some(&wanted)).await.unwrap();
    assert_eq!(digests(some), named(&["one", "two"]));
    assert_eq!(fake.seen("GET", "/referrers/").len(), 6);
}

#[tokio::test]
async fn a_page_that_is_missing_is_no_end_of_the_referrers() {
    let fake = Fake::tricky(|seen| {
        let builder = answer(200).header("link", "<?page=2>; rel=\"next\"");
        (seen.is("GET", "/referrers/") && !seen.target.contains('?'))
            .then(|| Trick::Answer(text(builder, r#"{"schemaVersion":2,"manifests":[]}"#.to_owned())))
    })
    .await;
    let error = fake.client().referrers(&Digest::sha256(b"subject"), None).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn the_referrers_tag_of_a_long_digest_is_cut_as_others_cut_it() {
    let fake = Fake::start().await;
    let subject = Digest::of(registry_types::Algorithm::Sha512, b"subject");
    let entry = Descriptor::new(MediaType::known(MediaType::OCI_MANIFEST), Digest::sha256(b"one"), 2);
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    fake.hold_manifest(&format!("sha512-{}", &subject.hex()[..64]), MediaType::OCI_INDEX, &index);
    let found = fake.client().referrers(&subject, None).await.unwrap();
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn deleting_tells_whether_there_was_something() {
    let fake = Fake::start().await;
    fake.hold_manifest("v1", MediaType::OCI_INDEX, "{}");
    let reference = "v1".parse().unwrap();
    assert!(fake.client().delete_manifest(&reference).await.unwrap());
    assert!(!fake.client().delete_manifest(&reference).await.unwrap());
}
