//! A request as a check writes it.

use std::fmt;

use bytes::Bytes;
use http::Method;

/// The scope with every right to a repository.
pub(crate) fn repository_scope(repository: &str) -> String {
    format!("repository:{repository}:pull,push,delete")
}

/// One request. Which token it needs follows from its path unless it says more.
/// Printed for debugging it names its headers without their values, of which one may be a token.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query, or a whole URL as a `Location` may be.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) scopes: Vec<String>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("headers", &headers)
            .field("length", &self.body.len())
            .field("scopes", &self.scopes)
            .finish()
    }
}

impl Request {
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        let target = target.into();
        let scopes = scope_of(&target).into_iter().collect();
        Self { method, target, headers: Vec::new(), body: Bytes::new(), scopes }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn head(target: impl Into<String>) -> Self {
        Self::new(Method::HEAD, target)
    }

    pub(crate) fn post(target: impl Into<String>) -> Self {
        Self::new(Method::POST, target)
    }

    pub(crate) fn put(target: impl Into<String>) -> Self {
        Self::new(Method::PUT, target)
    }

    pub(crate) fn patch(target: impl Into<String>) -> Self {
        Self::new(Method::PATCH, target)
    }

    pub(crate) fn delete(target: impl Into<String>) -> Self {
        Self::new(Method::DELETE, target)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Needs the rights to another repository too.
    pub(crate) fn also(mut self, repository: &str) -> Self {
        self.scopes.push(repository_scope(repository));
        self
    }
}

/// The scope that a path of the registry needs.
fn scope_of(target: &str) -> Option<String> {
    let path = target.split('?').next().unwrap_or_default();
    let (_, path) = path.split_once("/v2/")?;
    if path == "_catalog" {
        return Some("registry:catalog:*".to_owned());
    }
    let ends = ["/blobs/", "/manifests/", "/tags/", "/referrers/"];
    let end = ends.iter().filter_map(|end| path.rfind(end)).max()?;
    let name = path.get(..end)?;
    let name = name.strip_suffix("/blobs").unwrap_or(name);
    Some(repository_scope(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Answer;

    #[test]
    fn tokens_are_not_printed() {
        let request = Request::get("/v2/a/tags/list").header("authorization", "Bearer e30.secret");
        let shown = format!("{request:?}");
        assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
        let headers = http::HeaderMap::from_iter([(http::header::SET_COOKIE, "secret".parse().unwrap())]);
        let body = Bytes::from_static(b"{\"token\":\"secret\"}");
        let answer = Answer { asked: "GET /x".to_owned(), status: http::StatusCode::OK, headers, body };
        let shown = format!("{answer:?}");
        assert!(shown.contains("GET /x") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn paths_tell_the_scope_they_need() {
        let scope = |target| Request::get(target).scopes;
        assert_eq!(scope("/v2/a/b/blobs/uploads/?digest=x"), [repository_scope("a/b")]);
        assert_eq!(scope("http://h:1/v2/a/b/blobs/uploads/123"), [repository_scope("a/b")]);
        assert_eq!(scope("/v2/a/manifests/latest"), [repository_scope("a")]);
        assert_eq!(scope("/v2/a/tags/list?n=1"), [repository_scope("a")]);
        assert_eq!(scope("/v2/_catalog"), ["registry:catalog:*"]);
        assert!(scope("/v2/").is_empty());
    }
}
