//! Upload sessions (distribution-spec: Pushing a blob in chunks, Cancelling an upload).

use bytes::Bytes;
use registry_types::Digest;

use super::{
    Check, Context, Finding, Verdict, check,
    context::{chunk_request, location, manifest_request, with_query},
    hold,
};
use crate::client::{Answer, Request};

const CHUNKED: &str = "distribution-spec: Pushing a blob in chunks";

pub(super) const CHECKS: &[Check] = &[
    check!("upload-location-usable", "distribution-spec: Pushing blobs; RFC 9110 10.2.2", location_usable),
    check!("upload-chunk-out-of-order", CHUNKED, out_of_order),
    check!("upload-status", CHUNKED, status),
    check!("upload-resume-after-a-cut", CHUNKED, resume_after_a_cut),
    check!("upload-cancel", "distribution-spec: Cancelling an upload", cancel),
    check!("upload-ends-once", "distribution-spec: Pushing blobs", ends_once),
    check!("upload-last-chunk-with-put", CHUNKED, last_chunk_with_put),
    check!("upload-unknown-session", "distribution-spec: Error codes", unknown_session),
];

/// Bytes that an upload has, by its `Upload-Offset`, else its `Range`.
fn received(answer: &Answer) -> Result<usize, String> {
    if let Some(offset) = answer.header("upload-offset").and_then(|offset| offset.parse().ok()) {
        return Ok(offset);
    }
    let range = answer.required("range")?;
    let last =
        range.trim_start_matches("bytes=").strip_prefix("0-").and_then(|last| last.parse::<usize>().ok());
    let last = last.ok_or_else(|| format!("{answer}: Range {range} is not 0-<last byte>"))?;
    // `0-0` stands for an empty upload as well; checks do not send single bytes.
    Ok(if last == 0 { 0 } else { last + 1 })
}

fn has_range(answer: &Answer, length: usize) -> Result<(), String> {
    let (range, expected) = (answer.required("range")?, format!("0-{}", length - 1));
    if range == expected {
        return Ok(());
    }
    Err(format!("{answer}: Range is {range}, not {expected}"))
}

async fn location_usable(context: &Context) -> Verdict {
    let repository = context.repository("upload-location-usable");
    let blob = context.content("location", 300);
    let started =
        context.send(Request::post(format!("/v2/{repository}/blobs/uploads/"))).await?.expect(&[202])?;
    let appended = context.append(&location(&started)?, 0, blob.bytes.clone()).await?.expect(&[202])?;
    let status = context.send(Request::get(location(&appended)?)).await?.expect(&[204])?;
    let ended = context.complete(&location(&status)?, &blob.digest).await?.expect(&[201])?;
    context.send(Request::get(location(&ended)?)).await?.expect(&[200])?.holds(&blob.bytes)?;
    let manifest = context.image(&repository, "x").await?;
    let media_type = registry_types::MediaType::OCI_MANIFEST;
    let pushed = context.put_manifest(&repository, "x", media_type, &manifest.bytes).await?.expect(&[201])?;
    let stored = manifest_request(Request::get(location(&pushed)?));
    context.send(stored).await?.expect(&[200])?.holds(&manifest.bytes)?;
    Ok(())
}

async fn out_of_order(context: &Context) -> Verdict {
    let repository = context.repository("upload-chunk-out-of-order");
    let blob = context.content("order", 4000);
    let upload = context.start_upload(&repository).await?;
    let first = context.append(&upload, 0, blob.bytes.slice(..1000)).await?.expect(&[202])?;
    has_range(&first, 1000)?;
    let upload = location(&first)?;
    // Too early, too late, and the same again.
    for start in [500, 2000, 0] {
        let refused =
            context.append(&upload, start, blob.bytes.slice(start..start + 1000)).await?.expect(&[416])?;
        has_range(&refused, 1000)?;
        location(&refused)?;
    }
    let malformed = chunk_request(&upload, 0, blob.bytes.slice(..10));
    let malformed = Request { headers: vec![("content-range".to_owned(), "ten".to_owned())], ..malformed };
    context.send(malformed).await?.expect(&[400, 416])?;
    // None of it counted.
    let status = context.send(Request::get(&upload)).await?.expect(&[204])?;
    has_range(&status, 1000)?;
    let rest = context.append(&location(&status)?, 1000, blob.bytes.slice(1000..)).await?.expect(&[202])?;
    context.complete(&location(&rest)?, &blob.digest).await?.expect(&[201])?;
    context.get_blob(&repository, &blob.digest).await?.expect(&[200])?.holds(&blob.bytes)?;
    Ok(())
}

async fn status(context: &Context) -> Verdict {
    let repository = context.repository("upload-status");
    let blob = context.content("status", 2222);
    let mut upload = context.start_upload(&repository).await?;
    let fresh = context.send(Request::get(&upload)).await?.expect(&[204])?;
    hold!(received(&fresh)? == 0, "{fresh}: a new upload has received something");
    for (start, end) in [(0, 1111), (1111, 2000), (2000, 2222)] {
        let appended = context.append(&upload, start, blob.bytes.slice(start..end)).await?.expect(&[202])?;
        has_range(&appended, end)?;
        upload = location(&appended)?;
        let status = context.send(Request::get(&upload)).await?.expect(&[204])?;
        has_range(&status, end)?;
    }
    context.complete(&upload, &blob.digest).await?.expect(&[201])?;
    Ok(())
}

async fn resume_after_a_cut(context: &Context) -> Verdict {
    let repository = context.repository("upload-resume-after-a-cut");
    let blob = context.content("cut", 1_200_000);
    let upload = context.start_upload(&repository).await?;
    let first = context.append(&upload, 0, blob.bytes.slice(..200_000)).await?.expect(&[202])?;
    let upload = location(&first)?;
    let sent = 500_000;
    context.session().cut(&chunk_request(&upload, 200_000, blob.bytes.slice(200_000..)), sent).await?;
    let status = context.send(Request::get(&upload)).await?.expect(&[204])?;
    let offset = received(&status)?;
    hold!(
        (200_000..=200_000 + sent).contains(&offset),
        "{status}: after a cut the upload has {offset} bytes; 200000 were acknowledged and {sent} more sent"
    );
    let rest = go_on(context, status, &blob.bytes).await?;
    has_range(&rest, blob.bytes.len())?;
    context.complete(&location(&rest)?, &blob.digest).await?.expect(&[201])?;
    context.get_blob(&repository, &blob.digest).await?.expect(&[200])?.holds(&blob.bytes)?;
    Ok(())
}

/// How often a chunk may be overtaken by what an earlier connection carried.
const MOST_TRIES: usize = 5;

/// Sends what is missing. What the cut connection carried may come in while its client is back already; then the
/// registry refuses the chunk and tells where to go on.
async fn go_on(context: &Context, mut at: Answer, bytes: &Bytes) -> Verdict<Answer> {
    for _ in 0..MOST_TRIES {
        let offset = received(&at)?;
        let rest = context.append(&location(&at)?, offset, bytes.slice(offset.min(bytes.len())..)).await?;
        if rest.status != 416 {
            return Ok(rest.expect(&[202])?);
        }
        hold!(received(&rest)? > offset, "{rest}: refused the chunk at the offset it had told, {offset}");
        at = rest;
    }
    Err(Finding::Failed(format!("the upload does not go on after {MOST_TRIES} chunks")))
}

async fn cancel(context: &Context) -> Verdict {
    let repository = context.repository("upload-cancel");
    let blob = context.content("cancelled", 600);
    let upload = context.start_upload(&repository).await?;
    let appended = context.append(&upload, 0, blob.bytes.clone()).await?.expect(&[202])?;
    let upload = location(&appended)?;
    context.send(Request::delete(&upload)).await?.expect(&[204])?;
    is_gone(context, &upload, &blob.digest).await?;
    hold!(!context.has_blob(&repository, &blob.digest).await?, "a cancelled upload left its blob");
    Ok(())
}

/// Every way to use the upload has to say that there is none.
async fn is_gone(context: &Context, upload: &str, digest: &Digest) -> Verdict {
    let put = Request::put(with_query(upload, &format!("digest={digest}")));
    let patch = Request::patch(upload).header("content-type", "application/octet-stream").body("more");
    for request in [Request::get(upload), patch, put, Request::delete(upload)] {
        context.send(request).await?.refused(&[404], &["BLOB_UPLOAD_UNKNOWN"])?;
    }
    Ok(())
}

async fn ends_once(context: &Context) -> Verdict {
    let repository = context.repository("upload-ends-once");
    let blob = context.content("once", 600);
    let upload = context.start_upload(&repository).await?;
    let appended = context.append(&upload, 0, blob.bytes.clone()).await?.expect(&[202])?;
    let upload = location(&appended)?;
    context.complete(&upload, &blob.digest).await?.expect(&[201])?;
    is_gone(context, &upload, &blob.digest).await
}

async fn last_chunk_with_put(context: &Context) -> Verdict {
    let repository = context.repository("upload-last-chunk-with-put");
    let blob = context.content("last", 5000);
    let upload = context.start_upload(&repository).await?;
    let first = context.append(&upload, 0, blob.bytes.slice(..3000)).await?.expect(&[202])?;
    let put = Request::put(with_query(&location(&first)?, &format!("digest={}", blob.digest)));
    let wrong = put.clone().header("content-range", "4000-4999").body(blob.bytes.slice(4000..));
    has_range(&context.send(wrong).await?.expect(&[416])?, 3000)?;
    let last = put.header("content-range", "3000-4999").body(blob.bytes.slice(3000..));
    context.send(last).await?.expect(&[201])?;
    context.get_blob(&repository, &blob.digest).await?.expect(&[200])?.holds(&blob.bytes)?;
    Ok(())
}

async fn unknown_session(context: &Context) -> Verdict {
    let repository = context.repository("upload-unknown-session");
    let other = context.repository("upload-unknown-session-other");
    let upload = context.start_upload(&repository).await?;
    // A session belongs to one repository. Registries with opaque locations name it otherwise.
    if upload.contains(&repository) {
        let elsewhere = upload.replace(&repository, &other);
        context.send(Request::get(elsewhere)).await?.refused(&[404], &["BLOB_UPLOAD_UNKNOWN"])?;
    }
    let nowhere = format!("/v2/{repository}/blobs/uploads/00000000-0000-4000-8000-000000000000");
    context.send(Request::get(nowhere)).await?.refused(&[404], &["BLOB_UPLOAD_UNKNOWN"])?;
    context.send(Request::delete(upload)).await?.expect(&[204])?;
    Ok(())
}
