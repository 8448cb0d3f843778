//! Paths to routes. A path is read from the right, because repository names hold slashes; parsing is total and
//! nothing that reaches a handler is text any more.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;
use registry_types::{Digest, ErrorCode, ParseError, Reference, RepositoryName, Tag, UploadId};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, Reference),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, UploadId),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
    /// `/jwt/auth`
    Token,
    /// `/jwt/jwks.json`
    Keys,
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
}

/// Why a path has no route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RouteError {
    NotFound,
    /// The shape is right and a part of it is malformed.
    Invalid(ErrorCode, String),
}

impl Route {
    /// Reads a path, without query.
    pub(crate) fn parse(path: &str) -> Result<Self, RouteError> {
        match path {
            "/v2/" | "/v2" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            "/jwt/auth" => return Ok(Self::Token),
            "/jwt/jwks.json" => return Ok(Self::Keys),
            "/livez" => return Ok(Self::Live),
            "/readyz" => return Ok(Self::Ready),
            "/metrics" => return Ok(Self::Metrics),
            _ => {}
        }
        let path = path.strip_prefix("/v2/").ok_or(RouteError::NotFound)?;
        let path = decode(path)?;
        if let Some(name) = path.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some(name) =
            path.strip_suffix("/blobs/uploads/").or_else(|| path.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::Uploads(repository(name)?));
        }
        let (rest, last) = path.rsplit_once('/').ok_or(RouteError::NotFound)?;
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            let id =
                last.parse::<UploadId>().map_err(|error| invalid(ErrorCode::BlobUploadUnknown, &error))?;
            return Ok(Self::Upload(repository(name)?, id));
        }
        if let Some(name) = rest.strip_suffix("/manifests") {
            let code = if last.contains(':') { ErrorCode::DigestInvalid } else { ErrorCode::TagInvalid };
            let reference = last.parse::<Reference>().map_err(|error| invalid(code, &error))?;
            return Ok(Self::Manifest(repository(name)?, reference));
        }
        if let Some(name) = rest.strip_suffix("/blobs") {
            return Ok(Self::Blob(repository(name)?, digest(last)?));
        }
        if let Some(name) = rest.strip_suffix("/referrers") {
            return Ok(Self::Referrers(repository(name)?, digest(last)?));
        }
        Err(RouteError::NotFound)
    }

    /// The path that it is read from, in its plainest form.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Base => "/v2/".to_owned(),
            Self::Catalog => "/v2/_catalog".to_owned(),
            Self::Tags(name) => format!("/v2/{name}/tags/list"),
            Self::Manifest(name, reference) => format!("/v2/{name}/manifests/{reference}"),
            Self::Blob(name, digest) => format!("/v2/{name}/blobs/{digest}"),
            Self::Uploads(name) => format!("/v2/{name}/blobs/uploads/"),
            Self::Upload(name, id) => format!("/v2/{name}/blobs/uploads/{id}"),
            Self::Referrers(name, digest) => format!("/v2/{name}/referrers/{digest}"),
            Self::Token => "/jwt/auth".to_owned(),
            Self::Keys => "/jwt/jwks.json".to_owned(),
            Self::Live => "/livez".to_owned(),
            Self::Ready => "/readyz".to_owned(),
            Self::Metrics => "/metrics".to_owned(),
        }
    }

    /// Methods that the route answers.
    pub(crate) fn methods(&self) -> &'static [Method] {
        const READ: &[Method] = &[Method::GET, Method::HEAD];
        match self {
            Self::Base | Self::Catalog | Self::Tags(_) | Self::Referrers(..) => READ,
            Self::Keys | Self::Live | Self::Ready | Self::Metrics => READ,
            Self::Manifest(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            Self::Blob(..) => &[Method::GET, Method::HEAD, Method::DELETE],
            Self::Uploads(_) => &[Method::POST],
            Self::Upload(..) => &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE],
            Self::Token => &[Method::GET, Method::POST],
        }
    }

    /// A short name for logs and metrics: one of `metrics::ROUTES`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) => "uploads",
            Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
            Self::Token => "token",
            Self::Keys => "keys",
            Self::Live => "live",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
        }
    }

    pub(crate) fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Manifest(_, reference) => reference.tag(),
            _ => None,
        }
    }

    pub(crate) fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Blob(_, digest) | Self::Referrers(_, digest) => Some(digest),
            Self::Manifest(_, reference) => reference.digest(),
            _ => None,
        }
    }

    pub(crate) fn upload(&self) -> Option<UploadId> {
        match self {
            Self::Upload(_, id) => Some(*id),
            _ => None,
        }
    }

    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Tags(name)
            | Self::Manifest(name, _)
            | Self::Blob(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Referrers(name, _) => Some(name),
            _ => None,
        }
    }
}

/// Undoes percent-encoding. An encoded slash would let one name read as two, so it is refused.
fn decode(path: &str) -> Result<Cow<'_, str>, RouteError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    if path.to_ascii_lowercase().contains("%2f") {
        return Err(RouteError::NotFound);
    }
    percent_decode_str(path).decode_utf8().map_err(|_| RouteError::NotFound)
}

fn repository(name: &str) -> Result<RepositoryName, RouteError> {
    name.parse().map_err(|error: ParseError| invalid(ErrorCode::NameInvalid, &error))
}

fn digest(text: &str) -> Result<Digest, RouteError> {
    text.parse().map_err(|error: ParseError| invalid(ErrorCode::DigestInvalid, &error))
}

fn invalid(code: ErrorCode, error: &ParseError) -> RouteError {
    RouteError::Invalid(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(path: &str) -> Result<Route, RouteError> {
        Route::parse(path)
    }

    #[test]
    fn names_with_slashes_and_with_our_own_words_are_read_from_the_right() {
        let digest = Digest::sha256(b"");
        let name: RepositoryName = "a/blobs/b/manifests/c".parse().unwrap();
        assert_eq!(route("/v2/a/blobs/b/manifests/c/tags/list"), Ok(Route::Tags(name.clone())));
        assert_eq!(
            route("/v2/a/blobs/b/manifests/c/manifests/latest"),
            Ok(Route::Manifest(name.clone(), "latest".parse().unwrap()))
        );
        assert_eq!(
            route(&format!("/v2/a/blobs/b/manifests/c/blobs/{digest}")),
            Ok(Route::Blob(name.clone(), digest))
        );
        assert_eq!(route("/v2/a/blobs/b/manifests/c/blobs/uploads/"), Ok(Route::Uploads(name)));
    }

    #[test]
    fn encoded_colons_are_read_and_encoded_slashes_refused() {
        let digest = Digest::sha256(b"");
        let path = format!("/v2/a/blobs/{}", digest.to_string().replace(':', "%3A"));
        assert_eq!(route(&path), Ok(Route::Blob("a".parse().unwrap(), digest)));
        assert_eq!(route("/v2/a%2Fb/tags/list"), Err(RouteError::NotFound));
        assert_eq!(route("/v2/a%2fb/tags/list"), Err(RouteError::NotFound));
    }

    #[test]
    fn malformed_parts_are_told_by_name() {
        let code = |path: &str| match route(path) {
            Err(RouteError::Invalid(code, _)) => code,
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(code("/v2/A/tags/list"), ErrorCode::NameInvalid);
        assert_eq!(code("/v2/a/../b/tags/list"), ErrorCode::NameInvalid);
        assert_eq!(code("/v2/a/blobs/sha256:0"), ErrorCode::DigestInvalid);
        assert_eq!(code("/v2/a/manifests/sha256:0"), ErrorCode::DigestInvalid);
        assert_eq!(code("/v2/a/manifests/-"), ErrorCode::TagInvalid);
        assert_eq!(code("/v2/a/blobs/uploads/..."), ErrorCode::BlobUploadUnknown);
        for nowhere in ["/", "/v1/", "/v2/a", "/v2/a/b", "/v2/manifests", "/v2//", ""] {
            assert_eq!(route(nowhere), Err(RouteError::NotFound), "{nowhere}");
        }
    }

    #[test]
    fn every_route_has_a_place_in_the_metrics() {
        let digest = Digest::sha256(b"");
        let id = UploadId::random();
        let blob = format!("/v2/a/blobs/{digest}");
        let (upload, referrers) = (format!("/v2/a/blobs/uploads/{id}"), format!("/v2/a/referrers/{digest}"));
        let paths = [
            "/v2/",
            "/v2/_catalog",
            "/v2/a/tags/list",
            "/v2/a/manifests/1",
            &blob,
            "/v2/a/blobs/uploads/",
            &upload,
            &referrers,
            "/jwt/auth",
            "/jwt/jwks.json",
            "/livez",
            "/readyz",
            "/metrics",
        ];
        let names: Vec<_> = paths.iter().map(|path| route(path).unwrap().name()).collect();
        assert_eq!(names, crate::metrics::ROUTES[..crate::metrics::ROUTES.len() - 1]);
    }

    proptest! {
        #[test]
        fn parsing_is_total(path in ".*") {
            let _ = route(&path);
            let _ = route(&format!("/v2/{path}"));
        }
    }
}
