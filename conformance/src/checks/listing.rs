//! Tags and repositories in pages (distribution-spec: Listing tags; Docker Registry HTTP API V2: Catalog).

use serde_json::Value;

use super::{Check, Context, Finding, Verdict, check, hold};
use crate::client::{Answer, Request};

const TAGS: &str = "distribution-spec: Listing tags";

pub(super) const CHECKS: &[Check] = &[
    check!("tags-order", TAGS, order),
    check!("tags-pages", TAGS, pages),
    check!("tags-edges", TAGS, edges),
    check!("tags-of-an-unknown-repository", "distribution-spec: Error codes", unknown),
    check!("catalog-pages", "Docker Registry HTTP API V2: Catalog", catalog),
];

/// In the order of both readings of "lexical": by bytes, and without regard to case.
const NAMES: [&str; 7] = ["0.9", "1", "10", "2", "a", "latest", "v1"];

/// Most pages that a walk follows: more than any list that a check makes.
const MOST_PAGES: usize = 50;

/// The names in a list's body.
pub(super) fn names(answer: &Answer, field: &str) -> Verdict<Vec<String>> {
    let body = answer.json()?;
    let list = body.get(field).and_then(Value::as_array);
    let list = list.ok_or_else(|| format!("{answer}: {field} is no list"))?;
    let texts = list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>();
    Ok(texts.ok_or_else(|| format!("{answer}: {field} holds something else than text"))?)
}

/// Where `Link` says that the next page is (RFC 8288).
fn next(answer: &Answer) -> Verdict<Option<String>> {
    let Some(link) = answer.header("link") else { return Ok(None) };
    let (target, parameters) = link
        .strip_prefix('<')
        .and_then(|link| link.split_once('>'))
        .ok_or_else(|| format!("{answer}: Link {link} is not <target>; rel=\"next\""))?;
    let is_next = parameters.split(';').any(|part| matches!(part.trim(), "rel=\"next\"" | "rel=next"));
    hold!(is_next, "{answer}: Link {link} is not the next page's");
    Ok(Some(target.to_owned()))
}

async fn repository_with_tags(context: &Context, check: &str) -> Verdict<String> {
    let repository = context.repository(check);
    let manifest = context.image(&repository, "x").await?;
    for place in [4, 0, 6, 2, 5, 1, 3] {
        let media_type = registry_types::MediaType::OCI_MANIFEST;
        context.put_manifest(&repository, NAMES[place], media_type, &manifest.bytes).await?.expect(&[201])?;
    }
    Ok(repository)
}

async fn order(context: &Context) -> Verdict {
    let repository = repository_with_tags(context, "tags-order").await?;
    let answer = context.send(Request::get(format!("/v2/{repository}/tags/list"))).await?.expect(&[200])?;
    let body = answer.json()?;
    hold!(
        body.get("name").and_then(Value::as_str) == Some(repository.as_str()),
        "{answer}: the name is wrong"
    );
    let media_type = answer.required("content-type")?;
    hold!(media_type.starts_with("application/json"), "{answer}: the list is {media_type}, not JSON");
    let all = names(&answer, "tags")?;
    hold!(all == NAMES, "the tags come as {all:?}, not in order");
    Ok(())
}

async fn pages(context: &Context) -> Verdict {
    let repository = repository_with_tags(context, "tags-pages").await?;
    for size in [1, 2, 3, 6] {
        let mut seen = Vec::new();
        let mut at = Some(format!("/v2/{repository}/tags/list?n={size}"));
        let mut pages = 0;
        while let Some(path) = at {
            pages += 1;
            hold!(pages <= MOST_PAGES, "the pages of {size} tags never end");
            let answer = context.send(Request::get(path)).await?.expect(&[200])?;
            let page = names(&answer, "tags")?;
            at = next(&answer)?;
            hold!(page.len() <= size, "{answer}: more than {size} tags");
            hold!(at.is_none() || page.len() == size, "{answer}: a short page that is not the last");
            seen.extend(page);
        }
        hold!(seen == NAMES, "pages of {size} give {seen:?}");
    }
    Ok(())
}

async fn edges(context: &Context) -> Verdict {
    let repository = repository_with_tags(context, "tags-edges").await?;
    let path = format!("/v2/{repository}/tags/list");
    let cases: [(&str, &[&str]); 7] = [
        ("last=v1", &[]),
        ("last=zzz", &[]),
        ("n=0", &[]),
        ("n=100", &NAMES),
        ("last=2", &["a", "latest", "v1"]),
        // A name that is no tag of the repository still says where to go on.
        ("last=b", &["latest", "v1"]),
        ("n=2&last=10", &["2", "a"]),
    ];
    for (query, expected) in cases {
        let answer = context.send(Request::get(format!("{path}?{query}"))).await?.expect(&[200])?;
        let got = names(&answer, "tags")?;
        hold!(got == expected, "{query} gives {got:?}, not {expected:?}");
        let more = query == "n=2&last=10";
        hold!(
            query == "n=0" || next(&answer)?.is_some() == more,
            "{answer}: Link is there when it should not be, or not"
        );
    }
    for query in ["n=-1", "n=two"] {
        let answer = context.send(Request::get(format!("{path}?{query}"))).await?.expect(&[400])?;
        answer.error_codes()?;
    }
    Ok(())
}

async fn unknown(context: &Context) -> Verdict {
    let repository = context.repository("tags-of-an-unknown-repository");
    let answer = context.send(Request::get(format!("/v2/{repository}/tags/list"))).await?;
    answer.refused(&[404], &["NAME_UNKNOWN"])?;
    Ok(())
}

async fn catalog(context: &Context) -> Verdict {
    let mut expected = Vec::new();
    for name in ["catalog-pages-a", "catalog-pages-b", "catalog-pages-c"] {
        let repository = context.repository(name);
        context.push_image(&repository, "x").await?;
        expected.push(repository);
    }
    // From right before our own: a registry may hold very many others.
    let start = context.repository("catalog-pages");
    let mut at = Some(format!("/v2/_catalog?n=2&last={start}"));
    let mut seen: Vec<String> = Vec::new();
    while let (Some(path), true) = (&at, seen.len() < expected.len()) {
        let answer = context.send(Request::get(path)).await?;
        if matches!(answer.status.as_u16(), 401 | 403 | 404 | 405) {
            return Err(Finding::Skipped(
                "the registry shows no catalog, which is no part of the specification",
            ));
        }
        let answer = answer.expect(&[200])?;
        let page = names(&answer, "repositories")?;
        hold!(page.len() <= 2, "{answer}: more than n=2 repositories");
        at = next(&answer)?;
        hold!(at.is_none() || page.len() == 2, "{answer}: a short page that is not the last");
        seen.extend(page);
    }
    seen.truncate(expected.len());
    hold!(seen == expected, "the catalog after {start} gives {seen:?}, not {expected:?}");
    Ok(())
}
