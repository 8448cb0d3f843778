//! One file per endpoint group. A handler gets parsed parts, asks the caller's access for a grant and calls one
//! use case with it; there is no other way into the use cases.

pub(crate) mod base;
pub(crate) mod blobs;
pub(crate) mod discovery;
pub(crate) mod manifests;
pub(crate) mod tokens;
pub(crate) mod uploads;

use http::Response;
use registry_auth::Denied;
use registry_core::CoreError;

use crate::{body::ResponseBody, error::HttpError};

/// Why a handler gave no answer of its own.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller lacks a right; the service turns this into a challenge.
    Denied(Denied),
    Http(HttpError),
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl From<CoreError> for Failure {
    fn from(error: CoreError) -> Self {
        Self::Http(error.into())
    }
}

pub(crate) type Answer = Result<Response<ResponseBody>, Failure>;
