//! Listing referrers (distribution-spec: Listing referrers, Pushing manifests with subject).

use registry_types::{Digest, MediaType};
use serde_json::{Value, json};

use super::{Check, Context, Verdict, check, context::Content, hold};
use crate::client::{Answer, Request};

const SECTION: &str = "distribution-spec: Listing referrers";

pub(super) const CHECKS: &[Check] = &[
    check!(
        "referrers-before-the-subject",
        "distribution-spec: Pushing manifests with subject",
        before_the_subject
    ),
    check!("referrers-filter", SECTION, filter),
    check!("referrers-of-nothing", SECTION, of_nothing),
    check!("referrers-of-an-index", SECTION, of_an_index),
];

/// The descriptors of an answer that has to be an index.
fn descriptors(answer: &Answer) -> Verdict<Vec<Value>> {
    hold!(
        answer.header("content-type").is_some_and(|media_type| media_type.starts_with(MediaType::OCI_INDEX)),
        "{answer}: the Content-Type is not an image index"
    );
    let body = answer.json()?;
    hold!(body.get("schemaVersion") == Some(&json!(2)), "{answer}: schemaVersion is not 2");
    hold!(body.get("mediaType") == Some(&json!(MediaType::OCI_INDEX)), "{answer}: mediaType is no index");
    let manifests = body.get("manifests").and_then(Value::as_array);
    Ok(manifests.ok_or_else(|| format!("{answer}: manifests is no list"))?.clone())
}

async fn list(
    context: &Context,
    repository: &str,
    subject: &Digest,
    query: &str,
) -> Verdict<(Answer, Vec<Value>)> {
    let path = format!("/v2/{repository}/referrers/{subject}{query}");
    let answer = context.send(Request::get(path)).await?.expect(&[200])?;
    let listed = descriptors(&answer)?;
    Ok((answer, listed))
}

fn artifact(artifact_type: &str, subject: &Content, note: &str) -> Content {
    let empty = Content::new("{}");
    Content::new(
        json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": empty.descriptor(MediaType::OCI_EMPTY),
            "layers": [empty.descriptor(MediaType::OCI_EMPTY)],
            "subject": subject.descriptor(MediaType::OCI_MANIFEST),
            "annotations": { "org.example.note": note },
        })
        .to_string(),
    )
}

async fn push(context: &Context, repository: &str, manifest: &Content, subject: &Content) -> Verdict {
    let reference = manifest.digest.to_string();
    let pushed =
        context.put_manifest(repository, &reference, MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    let pushed = pushed.expect(&[201])?;
    let told = pushed.required("oci-subject")?;
    hold!(told == subject.digest.to_string(), "{pushed}: OCI-Subject is {told}, not {}", subject.digest);
    Ok(())
}

async fn before_the_subject(context: &Context) -> Verdict {
    let repository = context.repository("referrers-before-the-subject");
    let subject = context.image(&repository, "subject").await?;
    context.push_blob(&repository, &Content::new("{}")).await?;
    let signature = artifact("application/vnd.example.signature", &subject, "early");
    push(context, &repository, &signature, &subject).await?;
    let expected = json!({
        "mediaType": MediaType::OCI_MANIFEST,
        "digest": signature.digest,
        "size": signature.bytes.len(),
        "artifactType": "application/vnd.example.signature",
        "annotations": { "org.example.note": "early" },
    });
    let (_, early) = list(context, &repository, &subject.digest, "").await?;
    hold!(early == [expected.clone()], "before the subject the referrers are {early:?}");
    let reference = subject.digest.to_string();
    let pushed =
        context.put_manifest(&repository, &reference, MediaType::OCI_MANIFEST, &subject.bytes).await?;
    pushed.expect(&[201])?;
    let (_, late) = list(context, &repository, &subject.digest, "").await?;
    hold!(late == [expected], "after the subject the referrers are {late:?}");
    let delete = Request::delete(format!("/v2/{repository}/manifests/{}", signature.digest));
    if context.send(delete).await?.status == 202 {
        let (_, left) = list(context, &repository, &subject.digest, "").await?;
        hold!(left.is_empty(), "a deleted manifest is still a referrer: {left:?}");
    }
    Ok(())
}

async fn filter(context: &Context) -> Verdict {
    let repository = context.repository("referrers-filter");
    let subject = context.push_image(&repository, "subject").await?;
    context.push_blob(&repository, &Content::new("{}")).await?;
    let kinds =
        ["application/vnd.example.a+json", "application/vnd.example.b", "application/vnd.example.a+json"];
    let mut pushed = Vec::new();
    for (place, kind) in kinds.iter().enumerate() {
        let manifest = artifact(kind, &subject, &format!("number {place}"));
        push(context, &repository, &manifest, &subject).await?;
        pushed.push(manifest.digest.to_string());
    }
    let digests = |listed: &[Value]| {
        let mut digests: Vec<String> =
            listed.iter().filter_map(|one| one.get("digest")?.as_str().map(str::to_owned)).collect();
        digests.sort();
        digests
    };
    let sorted = |places: &[usize]| {
        let mut digests: Vec<String> =
            places.iter().filter_map(|&place| pushed.get(place).cloned()).collect();
        digests.sort();
        digests
    };
    let cases: [(&str, &[usize]); 4] = [
        ("", &[0, 1, 2]),
        ("?artifactType=application%2Fvnd.example.a%2Bjson", &[0, 2]),
        ("?artifactType=application/vnd.example.b", &[1]),
        ("?artifactType=application/vnd.example.none", &[]),
    ];
    for (query, places) in cases {
        let (answer, listed) = list(context, &repository, &subject.digest, query).await?;
        let applied = answer.header("oci-filters-applied");
        if query.is_empty() {
            hold!(applied.is_none(), "{answer}: OCI-Filters-Applied without a filter");
        } else {
            hold!(
                applied == Some("artifactType"),
                "{answer}: OCI-Filters-Applied is {applied:?}, not artifactType"
            );
        }
        hold!(digests(&listed) == sorted(places), "{query} lists {listed:?}");
    }
    Ok(())
}

async fn of_nothing(context: &Context) -> Verdict {
    let repository = context.repository("referrers-of-nothing");
    context.push_image(&repository, "x").await?;
    let unknown = Digest::sha256(b"a subject of nobody");
    let (_, listed) = list(context, &repository, &unknown, "").await?;
    hold!(listed.is_empty(), "an unknown digest has the referrers {listed:?}");
    let malformed = Request::get(format!("/v2/{repository}/referrers/sha256:12"));
    context.send(malformed).await?.expect(&[400])?.error_codes()?;
    Ok(())
}

async fn of_an_index(context: &Context) -> Verdict {
    let repository = context.repository("referrers-of-an-index");
    let subject = context.push_image(&repository, "subject").await?;
    let index = Content::new(
        json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX,
            "artifactType": "application/vnd.example.bundle",
            "manifests": [],
            "subject": subject.descriptor(MediaType::OCI_MANIFEST),
        })
        .to_string(),
    );
    let pushed = context.put_manifest(&repository, "bundle", MediaType::OCI_INDEX, &index.bytes).await?;
    pushed.expect(&[201])?.required("oci-subject")?;
    // An image without artifactType stands in the list under its config's type.
    let config = Content::new("{}");
    context.push_blob(&repository, &config).await?;
    let fields = json!({ "subject": subject.descriptor(MediaType::OCI_MANIFEST) });
    let image = super::context::image_manifest(&config, &[], fields);
    push(context, &repository, &image, &subject).await?;
    let (_, listed) = list(context, &repository, &subject.digest, "").await?;
    let field = |digest: &Digest, name: &str| {
        let found = listed.iter().find(|one| one.get("digest") == Some(&json!(digest)))?;
        found.get(name)?.as_str().map(str::to_owned)
    };
    for (content, media_type, artifact_type) in [
        (&index, MediaType::OCI_INDEX, "application/vnd.example.bundle"),
        (&image, MediaType::OCI_MANIFEST, MediaType::OCI_CONFIG),
    ] {
        let (own, kind) = (field(&content.digest, "mediaType"), field(&content.digest, "artifactType"));
        hold!(own.as_deref() == Some(media_type), "{} has the mediaType {own:?}", content.digest);
        hold!(kind.as_deref() == Some(artifact_type), "{} has the artifactType {kind:?}", content.digest);
    }
    Ok(())
}
