//! What mirrors mean on the wire: the repository that containerd's `ns` parameter asks for, and the headers of a tag
//! that could not be validated.

use http::{HeaderName, header};
use registry_core::{Mirrors, Stale};

use crate::{query::Query, respond::Reply, route::Route};

/// containerd names to a mirror the registry that it wants an image of.
const NAMESPACE: &str = "ns";

/// The route in the repository that mirrors the registry named in the query. `None`: the path means what it says, also
/// with a registry that nobody mirrors here, which may be this one under the name that its clients know.
pub(crate) fn mirrored_route(mirrors: &Mirrors, route: &Route, query: &Query) -> Option<Route> {
    let host = query.get(NAMESPACE)?;
    let local = mirrors.by_namespace(host, route.repository()?)?;
    match route {
        Route::Manifest(_, reference) => Some(Route::Manifest(local, reference.clone())),
        Route::Blob(_, digest) => Some(Route::Blob(local, *digest)),
        Route::Tags(_) => Some(Route::Tags(local)),
        Route::Referrers(_, digest) => Some(Route::Referrers(local, *digest)),
        // Uploads stay where they are pushed.
        _ => None,
    }
}

/// Tells of a tag that could not be validated. RFC 9111 took `Warning` out of HTTP because few read it; it is sent all
/// the same, since nothing else says on the wire what a person then wants to know. `Age` is in seconds (section 5.1).
pub(crate) fn with_staleness(reply: Reply, stale: Option<Stale>) -> Reply {
    let Some(Stale { age }) = stale else { return reply };
    const WARNING: HeaderName = header::WARNING;
    reply
        .header(WARNING, r#"110 - "Response is Stale""#)
        .header(WARNING, r#"111 - "Revalidation Failed""#)
        .number(header::AGE, age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_mirror_the_path_means_what_it_says() {
        let route = Route::parse("/v2/library/alpine/manifests/1").unwrap();
        for query in ["", "ns=docker.io"] {
            assert_eq!(mirrored_route(&Mirrors::default(), &route, &Query::parse(query)), None);
        }
    }
}
