//! Pagination: the first line is a query, the rest an entry that ends a page. Following the `Link` asks for as
//! many entries behind that one.

use registry_client::fuzzing::next_target;
use registry_http::fuzzing::{is_referrer_marker, next_link, page};

pub(crate) fn run(input: &[u8]) {
    let (query, last) = super::first_line(input);
    let (query, last) = (super::text(query), super::text(last));
    let Some((n, _)) = page(&query) else {
        return assert_eq!(next_link(&query, &last), None);
    };
    let link = next_link(&query, &last).expect("more entries have a link");
    let target = next_target(&link).expect("our client reads our links");
    let (path, following) = target.split_once('?').expect("the link has a query");
    assert_eq!(path, "/v2/a/tags/list");
    let expected = (Some(n.unwrap_or(1)), Some(last.to_string()).filter(|last| !last.is_empty()));
    assert_eq!(page(following), Some(expected), "{link}");
    let _ = is_referrer_marker(&last);
}
