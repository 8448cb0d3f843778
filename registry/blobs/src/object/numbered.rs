//! Completing a multipart upload whose part numbers have gaps, which S3 and Google's XML interface allow
//! (CompleteMultipartUpload, Amazon S3 API reference). The client library counts the parts instead, so this one
//! request is made here, at a signed URL.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use object_store::{
    ClientOptions, Error,
    client::{HttpClient, HttpConnector, HttpRequestBody, ReqwestConnector},
    path::Path,
    signer::{SignedUrlOptions, Signer},
};

use super::state::Part;

/// How long the signed URL may be used: the request begins at once.
const SIGNED_FOR: Duration = Duration::from_secs(300);

/// Makes parts an object by their numbers.
pub(super) trait CompleteNumbered: Send + Sync {
    fn complete<'a>(
        &'a self,
        path: &'a Path,
        upload: &'a str,
        parts: &'a [Part],
    ) -> BoxFuture<'a, object_store::Result<()>>;
}

/// S3's request.
pub(super) struct SignedRequest {
    signer: Arc<dyn Signer>,
    client: HttpClient,
}

impl SignedRequest {
    pub(super) fn new(signer: Arc<dyn Signer>, options: &ClientOptions) -> object_store::Result<Self> {
        Ok(Self { signer, client: ReqwestConnector::default().connect(options)? })
    }

    async fn send(&self, path: &Path, upload: &str, parts: &[Part]) -> object_store::Result<()> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "S3", source };
        let options = SignedUrlOptions::new().with_query([("uploadId", upload)]);
        let url = self.signer.signed_url_opts(Method::POST, path, SIGNED_FOR, &options).await?;
        let request = http::Request::post(url.as_str())
            .body(HttpRequestBody::from(body(parts)))
            .map_err(|error| failed(error.into()))?;
        let answer = self.client.execute(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status();
        let text = answer.into_body().bytes().await.map_err(|error| failed(error.into()))?;
        let text = String::from_utf8_lossy(&text);
        // A failure behind the head of the answer comes with the status of success.
        if status.is_success() && !text.contains("<Error>") {
            return Ok(());
        }
        let source = format!("{status}: {text}").into();
        Err(match status {
            StatusCode::NOT_FOUND => Error::NotFound { path: path.to_string(), source },
            StatusCode::FORBIDDEN => Error::PermissionDenied { path: path.to_string(), source },
            _ => failed(source),
        })
    }
}

impl CompleteNumbered for SignedRequest {
    fn complete<'a>(
        &'a self,
        path: &'a Path,
        upload: &'a str,
        parts: &'a [Part],
    ) -> BoxFuture<'a, object_store::Result<()>> {
        Box::pin(self.send(path, upload, parts))
    }
}

/// The request's body. S3 counts parts from 1.
fn body(parts: &[Part]) -> String {
    let mut body =
        String::from(r#"<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">"#);
    for Part(number, answer) in parts {
        let tag = answer.replace('&', "&amp;").replace('<', "&lt;");
        // Writing to a string does not fail.
        let _ = write!(body, "<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", number + 1);
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_numbers() {
        let body = body(&[Part(0, "\"a&b\"".to_owned()), Part(33, "\"c\"".to_owned())]);
        assert!(body.contains(r#"<Part><PartNumber>1</PartNumber><ETag>"a&amp;b"</ETag></Part>"#), "{body}");
        assert!(
            body.contains(r#"<Part><PartNumber>34</PartNumber><ETag>"c"</ETag></Part></Complete"#),
            "{body}"
        );
    }
}
