//! Referrers, as "Listing Referrers" of the distribution specification asks.

use bytes::Bytes;
use registry_types::{Algorithm, Descriptor, Digest, MediaType, RepositoryName};
use serde_json::{Value, json};

use super::samples::*;
use crate::{Change, Metadata, NewBlob, NewManifest, Page, Referrer, ReferrerMarker, ReferrersRequest};

fn subject() -> NewBlob {
    blob("a subject that is never pushed")
}

/// An image that refers to the subject; `extra` is merged into its JSON.
async fn pushed_referrer<M: Metadata>(
    store: &M,
    repository: &RepositoryName,
    name: &str,
    extra: Value,
) -> NewManifest {
    let config = blob(name);
    store.link_blob(repository, &config, None, Change::now()).await.unwrap();
    let mut json = image_json(&[config]);
    json["subject"] = descriptor(MediaType::OCI_MANIFEST, &subject());
    for (key, value) in extra.as_object().expect("an object") {
        json[key] = value.clone();
    }
    let referrer = manifest(repository, &json, &[]);
    store.put_manifest(referrer.clone(), Change::now()).await.unwrap();
    referrer
}

async fn digests<M: Metadata>(
    store: &M,
    repository: &RepositoryName,
    artifact_type: Option<&str>,
) -> Vec<Digest> {
    let artifact_type = artifact_type.map(parse::<MediaType>);
    let listed =
        store.referrers(repository, &subject().digest, artifact_type.as_ref(), &all_referrers()).await;
    let listed = listed.unwrap();
    assert!(!listed.more);
    listed.entries.into_iter().map(|referrer| referrer.digest).collect()
}

/// The lengths of the pages from the first to the last, and the entries of all.
async fn paged(page: impl AsyncFn(Option<ReferrerMarker>) -> Page<Referrer>) -> (Vec<usize>, Vec<Digest>) {
    let (mut lengths, mut listed, mut after) = (Vec::new(), Vec::new(), None);
    loop {
        let page = page(after).await;
        lengths.push(page.entries.len());
        after = page.entries.last().map(|last| last.marker);
        listed.extend(page.entries.iter().map(|referrer| referrer.digest));
        if !page.more {
            return (lengths, listed);
        }
        assert!(!page.entries.is_empty(), "an empty page that is not the last");
    }
}

pub async fn referrers_are_paged_by_number_and_by_length<M: Metadata>(store: M) {
    let here = repository("team/app");
    let mut expected = Vec::new();
    for number in 0..6 {
        let extra = json!({ "annotations": { "k": "x".repeat(if number == 3 { 9_000 } else { 2_000 }) } });
        expected.push(pushed_referrer(&store, &here, &format!("referrer {number}"), extra).await.digest);
    }
    let kind = parse::<MediaType>(MediaType::OCI_CONFIG);
    for (entries, bytes, lengths) in [
        (6, 1 << 20, &[6][..]),
        (4, 1 << 20, &[4, 2]),
        (1, 1 << 20, &[1; 6]),
        // One entry at least, whatever the bounds.
        (0, 1 << 20, &[1; 6]),
        (6, 0, &[1; 6]),
        // Two small ones fit; the long one stands alone.
        (6, 5_000, &[2, 1, 1, 2]),
    ] {
        for filter in [None, Some(&kind)] {
            let found = paged(async |after| {
                let page = ReferrersRequest { after, entries, bytes };
                store.referrers(&here, &subject().digest, filter, &page).await.unwrap()
            });
            assert_eq!(found.await, (lengths.to_vec(), expected.clone()), "{entries} entries, {bytes} bytes");
        }
    }
    // What is pushed or removed meanwhile moves no other entry.
    let first = ReferrersRequest { after: None, entries: 2, bytes: 1 << 20 };
    let page = store.referrers(&here, &subject().digest, None, &first).await.unwrap();
    assert!(store.delete_manifest(&here, &expected[1], Change::now()).await.unwrap());
    let late = pushed_referrer(&store, &here, "late", json!({})).await.digest;
    let after = page.entries.last().map(|last| last.marker);
    let rest = ReferrersRequest { after, ..all_referrers() };
    let rest = store.referrers(&here, &subject().digest, None, &rest).await.unwrap();
    let rest: Vec<Digest> = rest.entries.into_iter().map(|referrer| referrer.digest).collect();
    assert_eq!(rest, [&expected[2..], &[late]].concat());
}

pub async fn referrers_come_in_the_order_of_their_push<M: Metadata>(store: M) {
    let here = repository("team/app");
    assert!(digests(&store, &here, None).await.is_empty(), "an unknown repository has no referrers");
    let mut expected = Vec::new();
    for number in 0..12 {
        let name = format!("referrer {number}");
        expected.push(pushed_referrer(&store, &here, &name, json!({})).await);
    }
    // Pushing one again does not move it.
    store.put_manifest(expected[3].clone(), Change::now()).await.unwrap();
    let removed = expected.remove(5);
    assert!(store.delete_manifest(&here, &removed.digest, Change::now()).await.unwrap());
    let listed = digests(&store, &here, None).await;
    assert_eq!(listed, expected.iter().map(|referrer| referrer.digest).collect::<Vec<_>>());
    // Pushed again after its removal it is the youngest.
    store.put_manifest(removed.clone(), Change::now()).await.unwrap();
    assert_eq!(digests(&store, &here, None).await.last(), Some(&removed.digest));
}

pub async fn referrers_are_filtered_by_effective_type<M: Metadata>(store: M) {
    let here = repository("team/app");
    let own = json!({ "artifactType": "application/vnd.example.sbom" });
    let own = pushed_referrer(&store, &here, "own", own).await;
    let by_config = pushed_referrer(&store, &here, "by config", json!({})).await;
    assert_eq!(digests(&store, &here, Some("application/vnd.example.sbom")).await, [own.digest]);
    assert_eq!(digests(&store, &here, Some(MediaType::OCI_CONFIG)).await, [by_config.digest]);
    assert!(digests(&store, &here, Some("application/vnd.example.none")).await.is_empty());
}

pub async fn types_keep_their_spelling_and_compare_without_case<M: Metadata>(store: M) {
    let here = repository("team/app");
    let sent = "Application/VND.Example.SBOM+json";
    let mut pushed = Vec::new();
    for (number, spelling) in [sent, &sent.to_lowercase(), &sent.to_uppercase()].into_iter().enumerate() {
        let extra = json!({ "artifactType": spelling });
        pushed.push(pushed_referrer(&store, &here, &format!("sbom {number}"), extra).await);
    }
    pushed_referrer(&store, &here, "other", json!({ "artifactType": "application/vnd.example.other" })).await;
    for filter in [sent, "application/vnd.example.sbom+JSON"] {
        let filter = parse::<MediaType>(filter);
        let listed =
            store.referrers(&here, &subject().digest, Some(&filter), &all_referrers()).await.unwrap();
        let told = |referrer: &Referrer| {
            let artifact_type = referrer.artifact_type.as_ref().unwrap().as_sent().to_owned();
            (referrer.digest, artifact_type)
        };
        let spellings = [sent.to_owned(), sent.to_lowercase(), sent.to_uppercase()];
        let expected: Vec<_> = pushed.iter().map(|image| image.digest).zip(spellings).collect();
        assert_eq!(listed.entries.iter().map(told).collect::<Vec<_>>(), expected);
    }
    // The manifest's own type likewise; another spelling is the same manifest, which keeps its first one.
    let bytes = Bytes::from_static(b"{}");
    for spelling in ["Application/X-Odd", "application/x-odd"] {
        let odd = parse::<MediaType>(spelling);
        let odd = manifest_of(&here, bytes.clone(), Some(&odd), Algorithm::Sha256, &["odd"]);
        store.put_manifest(odd, Change::now()).await.unwrap();
        let found = store.manifest(&here, &tag("odd").into()).await.unwrap().unwrap();
        assert_eq!(found.media_type.as_sent(), "Application/X-Odd");
    }
    assert_eq!(store.tags(&here, &page(None, 10)).await.unwrap().unwrap().entries, [tag("odd")]);
}

pub async fn referrers_belong_to_one_repository<M: Metadata>(store: M) {
    let (here, there) = (repository("team/app"), repository("team/other"));
    let referrer = pushed_referrer(&store, &here, "referrer", json!({})).await;
    assert!(digests(&store, &there, None).await.is_empty());
    linked_image(&store, &there, "app", &[]).await;
    assert!(digests(&store, &there, None).await.is_empty());
    pushed_referrer(&store, &there, "referrer", json!({})).await;
    assert_eq!(digests(&store, &there, None).await, [referrer.digest]);
    assert!(store.delete_manifest(&here, &referrer.digest, Change::now()).await.unwrap());
    assert!(digests(&store, &here, None).await.is_empty());
    assert_eq!(digests(&store, &there, None).await, [referrer.digest]);
}

pub async fn referrers_carry_what_the_specification_asks<M: Metadata>(store: M) {
    let here = repository("team/app");
    let extra = json!({
        "artifactType": "application/vnd.example.signature",
        "annotations": { "org.example.key": "\"quoted\" ünïcode", "b": "" },
    });
    let full = pushed_referrer(&store, &here, "full", extra).await;
    let mut index = index_json(&[]);
    index["subject"] = descriptor(MediaType::OCI_MANIFEST, &subject());
    let index = manifest(&here, &index, &[]);
    store.put_manifest(index.clone(), Change::now()).await.unwrap();

    let listed = store.referrers(&here, &subject().digest, None, &all_referrers()).await.unwrap().entries;
    let [first, second] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!((first.digest, first.size), (full.digest, full.bytes.len() as u64));
    assert_eq!(first.media_type, full.view.media_type);
    assert_eq!(first.artifact_type, full.view.artifact_type);
    let annotations = first.annotations.as_ref().map(|text| serde_json::from_str(text.get()).unwrap());
    assert_eq!(annotations.as_ref(), Some(&full.view.annotations));
    let json: Descriptor = serde_json::from_value(serde_json::to_value(first).unwrap()).unwrap();
    assert_eq!((json.digest, json.size, json.media_type), (first.digest, first.size, full.view.media_type));
    assert_eq!((json.artifact_type, json.annotations), (full.view.artifact_type, annotations));
    // An index without a type of its own has none; no annotations are no field.
    assert_eq!((second.digest, &second.media_type), (index.digest, &index.view.media_type));
    assert_eq!((&second.artifact_type, second.annotations.is_none()), (&None, true));
}
