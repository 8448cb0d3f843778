//! Small helpers for responses.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use registry_types::Digest;
use serde::Serialize;

use crate::{body::ResponseBody, error::HttpError};

pub(crate) const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(crate) const DOCKER_UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(crate) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
pub(crate) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// A response being filled in. Values come from parsed types, so they are always valid header values; one that
/// is not is left out rather than sent broken.
#[derive(Debug)]
pub(crate) struct Reply(Response<ResponseBody>);

impl Reply {
    pub(crate) fn new(status: StatusCode) -> Self {
        let mut response = Response::new(ResponseBody::empty());
        *response.status_mut() = status;
        Self(response)
    }

    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Self::new(status).header(header::CONTENT_TYPE, "application/json").body(ResponseBody::full(bytes))
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.0.headers_mut().append(name, value);
        }
        self
    }

    pub(crate) fn number(mut self, name: HeaderName, value: u64) -> Self {
        self.0.headers_mut().insert(name, HeaderValue::from(value));
        self
    }

    pub(crate) fn digest(self, digest: &Digest) -> Self {
        self.header(DOCKER_CONTENT_DIGEST, digest.to_string())
    }

    pub(crate) fn body(mut self, body: ResponseBody) -> Self {
        *self.0.body_mut() = body;
        self
    }

    pub(crate) fn done(self) -> Response<ResponseBody> {
        self.0
    }
}

/// The entity tag of content-addressed content.
pub(crate) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether `If-None-Match` names the content (RFC 9110 section 13.1.2, weak comparison).
pub(crate) fn not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
    let tag = entity_tag(digest);
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

/// The parsed value of a header, if it is there.
pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// An absent parameter is `None`; a malformed one is the caller's error.
pub(crate) fn parsed<T, E>(
    value: Option<&str>,
    to_error: impl FnOnce(E) -> HttpError,
) -> Result<Option<T>, HttpError>
where
    T: std::str::FromStr<Err = E>,
{
    value.map(str::parse).transpose().map_err(to_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_compare_weakly_and_in_lists() {
        let digest = Digest::sha256(b"x");
        let with = |value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            not_modified(&headers, &digest)
        };
        assert!(with(entity_tag(&digest)));
        assert!(with(format!("\"other\", W/{}", entity_tag(&digest))));
        assert!(with("*".to_owned()));
        assert!(!with(digest.to_string()));
        assert!(!with(entity_tag(&Digest::sha256(b"y"))));
    }
}
