//! What of the request parsers a fuzzer gets to see: text in, and what was understood out, as plain values. Only
//! with the cargo feature `fuzzing`, which no product turns on.

use http::{HeaderMap, HeaderValue, header};
use registry_metadata::{Page, ReferrerMarker};
use registry_types::{ContentRange, Digest, MediaType};

use crate::{
    accept::Accept,
    authentication,
    handlers::{discovery, tokens, uploads},
    query::Query,
    respond,
    route::Route,
    service,
};

/// The path of the route that `path` names, written anew from its parts; `None` where it names none.
pub fn path(path: &str) -> Option<String> {
    Route::parse(path).ok().map(|route| route.path())
}

/// Every value of `name` in a query or form, and its first.
pub fn parameters(text: &str, name: &str) -> (Vec<String>, Option<String>) {
    let query = Query::parse(text);
    (query.all(name).map(str::to_owned).collect(), query.get(name).map(str::to_owned))
}

/// The token in a value of `Authorization`.
pub fn bearer(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok().and_then(authentication::bearer)
}

/// Name and password in a value of `Authorization`.
pub fn basic_credentials(value: &HeaderValue) -> Option<(String, String)> {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, value.clone());
    let credentials = tokens::basic_credentials(&headers).ok()??;
    Some((credentials.name, credentials.password.expose().to_owned()))
}

/// Name and password in the form of a token request.
pub fn form_credentials(form: &str) -> Option<(String, String)> {
    let credentials = tokens::form_credentials(&Query::parse(form)).ok()??;
    Some((credentials.name, credentials.password.expose().to_owned()))
}

/// The place that the headers of a chunk name; `None` where they are refused.
pub fn content_range(headers: &HeaderMap) -> Option<Option<ContentRange>> {
    uploads::content_range(headers).ok()
}

/// Size and marker of the page that a query asks for; `None` where it is refused.
pub fn page(query: &str) -> Option<(Option<usize>, Option<String>)> {
    let page = discovery::page_query(&Query::parse(query)).ok()?;
    Some((page.n, page.last))
}

/// The `Link` behind a page that ends with `last`, for whoever asked with `query`.
pub fn next_link(query: &str, last: &str) -> Option<String> {
    let page = Page { entries: vec![last.to_owned()], more: true };
    discovery::next_link("/v2/a/tags/list", &discovery::page_query(&Query::parse(query)).ok()?, &page)
}

/// Whether a marker of the referrers list can be read.
pub fn is_referrer_marker(text: &str) -> bool {
    text.parse::<ReferrerMarker>().is_ok()
}

/// Whether a manifest of this type may be sent to a client with these headers, and whether it has it already.
pub fn wants(headers: &HeaderMap, media_type: &MediaType, digest: &Digest) -> (bool, bool) {
    (Accept::of(headers).allows(media_type), respond::not_modified(headers, digest))
}

/// Whether requests with these headers are looked at further.
pub fn is_acceptable(headers: &HeaderMap) -> bool {
    service::unacceptable(headers).is_none()
}
