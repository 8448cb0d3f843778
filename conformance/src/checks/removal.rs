//! Deleting tags, manifests and blobs (distribution-spec: Content management).

use registry_types::{Digest, MediaType};

use super::{Check, Context, Finding, Verdict, check, context::Content, hold};
use crate::client::{Answer, Request};

const SECTION: &str = "distribution-spec: Content management";

pub(super) const CHECKS: &[Check] = &[
    check!("delete-tag-keeps-the-manifest", SECTION, delete_tag),
    check!("delete-manifest-drops-its-tags", SECTION, delete_manifest),
    check!("delete-blob-in-one-repository-only", SECTION, delete_blob),
    check!("delete-of-nothing", SECTION, delete_nothing),
];

/// Skips when the registry does not delete, which it may say with 400 or 405.
fn deleted(answer: Answer) -> Verdict {
    if matches!(answer.status.as_u16(), 400 | 405) {
        return Err(Finding::Skipped("the registry does not delete this, which it may"));
    }
    answer.expect(&[202])?;
    Ok(())
}

/// One manifest under three tags.
async fn tagged(context: &Context, repository: &str) -> Verdict<Content> {
    let manifest = context.image(repository, "x").await?;
    for tag in ["a", "b", "c"] {
        context
            .put_manifest(repository, tag, MediaType::OCI_MANIFEST, &manifest.bytes)
            .await?
            .expect(&[201])?;
    }
    Ok(manifest)
}

async fn tags(context: &Context, repository: &str) -> Verdict<Vec<String>> {
    let answer = context.send(Request::get(format!("/v2/{repository}/tags/list"))).await?.expect(&[200])?;
    super::listing::names(&answer, "tags")
}

async fn delete_tag(context: &Context) -> Verdict {
    let repository = context.repository("delete-tag-keeps-the-manifest");
    let manifest = tagged(context, &repository).await?;
    deleted(context.send(Request::delete(format!("/v2/{repository}/manifests/b"))).await?)?;
    context.get_manifest(&repository, "b").await?.refused(&[404], &["MANIFEST_UNKNOWN"])?;
    for reference in ["a".to_owned(), "c".to_owned(), manifest.digest.to_string()] {
        context.get_manifest(&repository, &reference).await?.expect(&[200])?.holds(&manifest.bytes)?;
    }
    let left = tags(context, &repository).await?;
    hold!(left == ["a", "c"], "after deleting b the tags are {left:?}");
    Ok(())
}

async fn delete_manifest(context: &Context) -> Verdict {
    let repository = context.repository("delete-manifest-drops-its-tags");
    let manifest = tagged(context, &repository).await?;
    let other = context.push_image(&repository, "other").await?;
    deleted(context.send(Request::delete(format!("/v2/{repository}/manifests/{}", manifest.digest))).await?)?;
    for reference in ["a".to_owned(), "b".to_owned(), "c".to_owned(), manifest.digest.to_string()] {
        context.get_manifest(&repository, &reference).await?.refused(&[404], &["MANIFEST_UNKNOWN"])?;
    }
    let left = tags(context, &repository).await?;
    hold!(left == ["other"], "after deleting their manifest the tags are {left:?}");
    context.get_manifest(&repository, "other").await?.expect(&[200])?.holds(&other.bytes)?;
    // Its blobs stay until they are collected, so the same manifest can come back.
    context.put_manifest(&repository, "a", MediaType::OCI_MANIFEST, &manifest.bytes).await?.expect(&[201])?;
    Ok(())
}

async fn delete_blob(context: &Context) -> Verdict {
    let first = context.repository("delete-blob-in-one-repository-only");
    let second = context.repository("delete-blob-other");
    let blob = context.content("shared", 1000);
    context.push_blob(&first, &blob).await?;
    context.push_blob(&second, &blob).await?;
    deleted(context.send(Request::delete(format!("/v2/{first}/blobs/{}", blob.digest))).await?)?;
    hold!(!context.has_blob(&first, &blob.digest).await?, "a deleted blob is still there");
    context.get_blob(&second, &blob.digest).await?.expect(&[200])?.holds(&blob.bytes)?;
    context.push_blob(&first, &blob).await?;
    context.get_blob(&first, &blob.digest).await?.expect(&[200])?.holds(&blob.bytes)?;
    Ok(())
}

async fn delete_nothing(context: &Context) -> Verdict {
    let repository = context.repository("delete-of-nothing");
    context.push_image(&repository, "x").await?;
    let digest = Digest::sha256(b"never pushed anywhere");
    let cases = [
        (format!("/v2/{repository}/manifests/unknown"), "MANIFEST_UNKNOWN"),
        (format!("/v2/{repository}/manifests/{digest}"), "MANIFEST_UNKNOWN"),
        (format!("/v2/{repository}/blobs/{digest}"), "BLOB_UNKNOWN"),
    ];
    for (path, code) in cases {
        let answer = context.send(Request::delete(path)).await?;
        if matches!(answer.status.as_u16(), 400 | 405) {
            return Err(Finding::Skipped("the registry does not delete this, which it may"));
        }
        answer.refused(&[404], &[code])?;
    }
    Ok(())
}
