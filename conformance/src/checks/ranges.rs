//! Parts of blobs (RFC 9110 section 14; distribution-spec: Pulling blobs).

use super::{Check, Context, Verdict, check, hold};
use crate::client::Request;

pub(super) const CHECKS: &[Check] = &[
    check!("blob-range-edges", "RFC 9110 14.1.2 and 15.3.7", edges),
    check!("blob-range-beyond-the-end", "RFC 9110 15.5.17", beyond_the_end),
    check!("blob-range-not-understood", "RFC 9110 14.2", not_understood),
    check!("blob-range-large", "RFC 9110 14.1.2", large),
];

async fn edges(context: &Context) -> Verdict {
    let repository = context.repository("blob-range-edges");
    let blob = context.content("ranges", 1000);
    context.push_blob(&repository, &blob).await?;
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    let cases: [(&str, usize, usize); 10] = [
        ("bytes=0-0", 0, 0),
        ("bytes=0-499", 0, 499),
        ("bytes=500-", 500, 999),
        ("bytes=999-999", 999, 999),
        ("bytes=999-", 999, 999),
        ("bytes=0-", 0, 999),
        ("bytes=990-5000", 990, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-1000", 0, 999),
        ("bytes=-5000", 0, 999),
    ];
    for (range, first, last) in cases {
        let answer = context.send(Request::get(&path).header("range", range)).await?.expect(&[206])?;
        let expected = format!("bytes {first}-{last}/1000");
        let answer = answer.holds(&blob.bytes[first..=last])?;
        hold!(
            answer.header("content-range") == Some(expected.as_str()),
            "{range}: Content-Range is {:?}, not {expected}",
            answer.header("content-range")
        );
        let length = (last - first + 1).to_string();
        hold!(
            answer.header("content-length") == Some(length.as_str()),
            "{range}: Content-Length is not {length}"
        );
    }
    Ok(())
}

async fn beyond_the_end(context: &Context) -> Verdict {
    let repository = context.repository("blob-range-beyond-the-end");
    let blob = context.content("ranges", 1000);
    context.push_blob(&repository, &blob).await?;
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    for range in ["bytes=1000-", "bytes=1000-1000", "bytes=99999999999999999999-", "bytes=-0"] {
        let answer = context.send(Request::get(&path).header("range", range)).await?.expect(&[416])?;
        hold!(
            answer.header("content-range") == Some("bytes */1000"),
            "{range}: 416 needs Content-Range: bytes */1000, not {:?}",
            answer.header("content-range")
        );
    }
    Ok(())
}

async fn not_understood(context: &Context) -> Verdict {
    let repository = context.repository("blob-range-not-understood");
    let blob = context.content("ranges", 1000);
    context.push_blob(&repository, &blob).await?;
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    // A unit that a server does not know is ignored: the whole is sent.
    let unit = context.send(Request::get(&path).header("range", "lines=0-1")).await?;
    unit.expect(&[200])?.holds(&blob.bytes)?;
    // A malformed range may be refused, but must not be served as something else.
    for range in ["bytes=a-b", "bytes", "bytes="] {
        let answer =
            context.send(Request::get(&path).header("range", range)).await?.expect(&[200, 400, 416])?;
        if answer.status == 200 {
            answer.holds(&blob.bytes)?;
        }
    }
    // Several ranges may be served as multipart or not at all, but never as one of them.
    let several =
        context.send(Request::get(&path).header("range", "bytes=0-1,500-501")).await?.expect(&[200, 206])?;
    if several.status == 206 {
        let media_type = several.required("content-type")?;
        hold!(media_type.starts_with("multipart/byteranges"), "{several}: two ranges came as {media_type}");
    } else {
        several.holds(&blob.bytes)?;
    }
    Ok(())
}

async fn large(context: &Context) -> Verdict {
    let repository = context.repository("blob-range-large");
    let blob = context.content("several buffers", 3_000_001);
    context.push_blob(&repository, &blob).await?;
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    for (first, last) in [(0, 3_000_000), (1, 2_999_999), (65_535, 1_048_577), (2_999_990, 3_000_000)] {
        let range = format!("bytes={first}-{last}");
        let answer = context.send(Request::get(&path).header("range", &range)).await?.expect(&[206])?;
        answer.holds(&blob.bytes[first..=last])?;
    }
    Ok(())
}
