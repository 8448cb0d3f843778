//! Pulling blobs, and storing only what was announced.

use bytes::Bytes;
use registry_types::{Algorithm, Digest, MediaType};
use serde_json::json;

use super::{
    Check, Context, Verdict, check,
    context::{Content, image_manifest, location, with_query},
    hold,
};
use crate::client::Request;

pub(super) const CHECKS: &[Check] = &[
    check!("blob-not-modified", "RFC 9110 13.1.2", not_modified),
    check!("blob-head-equals-get", "distribution-spec: Checking if content exists", head_equals_get),
    check!("blob-empty", "distribution-spec: Pushing blobs", empty),
    check!(
        "blob-digest-mismatch-stores-nothing",
        "distribution-spec: Pushing blobs",
        mismatch_stores_nothing
    ),
    check!("blob-mount", "distribution-spec: Mounting a blob from another repository", mount),
    check!(
        "blob-mount-of-nothing",
        "distribution-spec: Mounting a blob from another repository",
        mount_of_nothing
    ),
    check!("sha512-end-to-end", "distribution-spec: Pushing; image-spec: Digests", sha512),
];

async fn not_modified(context: &Context) -> Verdict {
    let repository = context.repository("blob-not-modified");
    let blob = context.content("etag", 900);
    context.push_blob(&repository, &blob).await?;
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    let first = context.send(Request::get(&path)).await?.expect(&[200])?.holds(&blob.bytes)?;
    let tag = first.required("etag")?.to_owned();
    hold!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag} is no strong entity tag");
    for value in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
        for request in [Request::get(&path), Request::head(&path)] {
            let answer = context.send(request.header("if-none-match", &value)).await?.expect(&[304])?;
            hold!(answer.body.is_empty(), "{answer}: 304 with a body");
            hold!(answer.header("etag") == Some(tag.as_str()), "{answer}: 304 without the entity tag");
        }
    }
    let other = context.send(Request::get(&path).header("if-none-match", "\"other\"")).await?;
    other.expect(&[200])?.holds(&blob.bytes)?;
    Ok(())
}

/// Headers that GET and HEAD have to agree on.
const SAME: [&str; 5] = ["content-length", "content-type", "docker-content-digest", "etag", "accept-ranges"];

async fn head_equals_get(context: &Context) -> Verdict {
    let repository = context.repository("blob-head-equals-get");
    let blob = context.content("head", 5000);
    context.push_blob(&repository, &blob).await?;
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    let get = context.send(Request::get(&path)).await?.expect(&[200])?.holds(&blob.bytes)?;
    let head = context.send(Request::head(&path)).await?.expect(&[200])?;
    hold!(head.body.is_empty(), "{head}: HEAD with a body");
    for name in SAME {
        let (got, had) = (get.header(name), head.header(name));
        hold!(got == had, "{path}: GET has {name} {got:?}, HEAD has {had:?}");
    }
    hold!(head.required("content-length")? == "5000", "{head}: the length is wrong");
    hold!(head.required("docker-content-digest")? == blob.digest.to_string(), "{head}: the digest is wrong");
    Ok(())
}

async fn empty(context: &Context) -> Verdict {
    let repository = context.repository("blob-empty");
    let blob = Content::new(Bytes::new());
    context.push_blob(&repository, &blob).await?;
    let got = context.get_blob(&repository, &blob.digest).await?.expect(&[200])?.holds(b"")?;
    hold!(got.header("content-length") == Some("0"), "{got}: an empty blob needs Content-Length 0");
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    context.send(Request::head(&path)).await?.expect(&[200])?;
    // No byte of it exists: a range is refused, or ignored.
    let range = context.send(Request::get(&path).header("range", "bytes=0-0")).await?.expect(&[200, 416])?;
    hold!(
        range.status == 200 || range.header("content-range") == Some("bytes */0"),
        "{range}: Content-Range must be bytes */0"
    );
    Ok(())
}

async fn mismatch_stores_nothing(context: &Context) -> Verdict {
    let repository = context.repository("blob-digest-mismatch-stores-nothing");
    let (sent, announced) = (context.content("sent", 3000), context.content("announced", 3000));
    let single = Request::post(format!("/v2/{repository}/blobs/uploads/?digest={}", announced.digest));
    let single = single.header("content-type", "application/octet-stream").body(sent.bytes.clone());
    let answer = context.send(single).await?;
    // A registry that does not take a blob in one POST opens an upload.
    if answer.status != 202 {
        answer.refused(&[400], &["DIGEST_INVALID"])?;
    }
    let upload = context.start_upload(&repository).await?;
    let put = Request::put(with_query(&upload, &format!("digest={}", announced.digest)));
    context.send(put.body(sent.bytes.clone())).await?.refused(&[400], &["DIGEST_INVALID"])?;
    let upload = context.start_upload(&repository).await?;
    let appended = context.append(&upload, 0, sent.bytes.clone()).await?.expect(&[202])?;
    context.complete(&location(&appended)?, &announced.digest).await?.refused(&[400], &["DIGEST_INVALID"])?;
    for digest in [sent.digest, announced.digest] {
        hold!(!context.has_blob(&repository, &digest).await?, "{digest} was stored by a refused push");
    }
    Ok(())
}

async fn mount(context: &Context) -> Verdict {
    let (source, target) = (context.repository("blob-mount-source"), context.repository("blob-mount"));
    let blob = context.content("mounted", 2000);
    context.push_blob(&source, &blob).await?;
    hold!(!context.has_blob(&target, &blob.digest).await?, "{target} has a blob that nobody pushed to it");
    let path = format!("/v2/{target}/blobs/uploads/?mount={}&from={source}", blob.digest);
    let mounted = context.send(Request::post(path).also(&source)).await?.expect(&[201])?;
    context.send(Request::get(location(&mounted)?)).await?.expect(&[200])?.holds(&blob.bytes)?;
    // What is mounted counts as pushed: a manifest may name it.
    let config = Content::new("{}");
    context.push_blob(&target, &config).await?;
    let manifest = image_manifest(&config, &[&blob], json!({}));
    let pushed = context.put_manifest(&target, "latest", MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    pushed.expect(&[201])?;
    Ok(())
}

async fn mount_of_nothing(context: &Context) -> Verdict {
    let (source, target) =
        (context.repository("blob-mount-of-nothing-source"), context.repository("blob-mount-of-nothing"));
    context.push_blob(&source, &context.content("another", 10)).await?;
    let blob = context.content("absent", 2000);
    let path = format!("/v2/{target}/blobs/uploads/?mount={}&from={source}", blob.digest);
    let answer = context.send(Request::post(path).also(&source)).await?.expect(&[202])?;
    // The upload that was opened instead has to work.
    let put = Request::put(with_query(&location(&answer)?, &format!("digest={}", blob.digest)));
    context.send(put.body(blob.bytes.clone())).await?.expect(&[201])?;
    context.get_blob(&target, &blob.digest).await?.expect(&[200])?.holds(&blob.bytes)?;
    Ok(())
}

async fn sha512(context: &Context) -> Verdict {
    let repository = context.repository("sha512-end-to-end");
    let (config, layer) =
        (Content::new("{}").by(Algorithm::Sha512), context.content("long", 4000).by(Algorithm::Sha512));
    context.push_blob(&repository, &config).await?;
    let upload = context.start_upload(&repository).await?;
    let first = context.append(&upload, 0, layer.bytes.slice(..2500)).await?.expect(&[202])?;
    let second = context.append(&location(&first)?, 2500, layer.bytes.slice(2500..)).await?.expect(&[202])?;
    context.complete(&location(&second)?, &layer.digest).await?.expect(&[201])?;
    let manifest = image_manifest(&config, &[&layer], json!({})).by(Algorithm::Sha512);
    let reference = format!("{}?tag=long", manifest.digest);
    let pushed =
        context.put_manifest(&repository, &reference, MediaType::OCI_MANIFEST, &manifest.bytes).await?;
    let pushed = pushed.expect(&[201])?;
    hold!(
        pushed.header("docker-content-digest") == Some(manifest.digest.to_string().as_str()),
        "{pushed}: the digest of the answer is not the one pushed"
    );
    for blob in [&config, &layer] {
        let got = context.get_blob(&repository, &blob.digest).await?.expect(&[200])?.holds(&blob.bytes)?;
        hold!(
            got.header("docker-content-digest") == Some(blob.digest.to_string().as_str()),
            "{got}: another digest"
        );
    }
    for reference in [manifest.digest.to_string(), "long".to_owned()] {
        let got =
            context.get_manifest(&repository, &reference).await?.expect(&[200])?.holds(&manifest.bytes)?;
        hold!(
            got.header("docker-content-digest") == Some(manifest.digest.to_string().as_str()),
            "{got}: Docker-Content-Digest is not the sha512 digest it was pushed by"
        );
    }
    let wrong = Digest::of(Algorithm::Sha512, b"something else");
    let refused = context
        .put_manifest(&repository, &wrong.to_string(), MediaType::OCI_MANIFEST, &manifest.bytes)
        .await?;
    refused.refused(&[400], &["DIGEST_INVALID"])?;
    Ok(())
}
