//! Which object store, and how to reach it. What is not said here is taken from where the store's own tools take
//! it: environment variables, the instance's or the pod's identity.

use std::{fmt, io, sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig, aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder, gcp::GoogleCloudStorageBuilder, multipart::MultipartStore, signer::Signer,
};
use url::Url;
use zeroize::Zeroizing;

use super::{
    numbered::SignedRequest,
    remote::{Remote, told},
};
use crate::BlobError;

/// Memory for upload bytes unless configured: two parts on their way and one that fills up, of ten uploads at
/// full speed.
pub const UPLOAD_MEMORY: usize = 256 << 20;

/// Time for a connection: three tries of a lost SYN, the second after one second.
const CONNECT_TIME: Duration = Duration::from_secs(4);

/// How a request is made again that got no connection or a 5xx: a client waits for it, and gets a 503 soon if it
/// does not help.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(6),
    }
}

/// Where an object store is.
#[derive(Debug, Clone)]
pub struct ObjectOptions {
    /// `s3://bucket/folder`, `gs://bucket/folder`, `az://container/folder`, or the store's own `https` form.
    pub url: Url,
    /// The server, if it is not the provider's own.
    pub endpoint: Option<Url>,
    /// S3's region.
    pub region: Option<String>,
    /// Instead of those of the environment; S3 and Azure only.
    pub credentials: Option<ObjectCredentials>,
    /// Lets an endpoint be plain HTTP.
    pub allow_http: bool,
    /// Most upload bytes in memory, in bytes. It bounds the length of a blob, too: 256 MiB let 800 GiB pass, 2 GiB
    /// everything that S3 takes.
    pub memory: usize,
}

/// An access key of S3, or an account of Azure and its key. Printed, it shows no secret.
#[derive(Clone)]
pub struct ObjectCredentials {
    pub name: String,
    secret: Zeroizing<String>,
}

impl ObjectCredentials {
    pub fn new(name: String, secret: String) -> Self {
        Self { name, secret: Zeroizing::new(secret) }
    }
}

impl fmt::Debug for ObjectCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectCredentials").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ObjectOptions {
    /// The store at `url`, as the environment says.
    pub fn at(url: Url) -> Self {
        Self {
            url,
            endpoint: None,
            region: None,
            credentials: None,
            allow_http: false,
            memory: UPLOAD_MEMORY,
        }
    }

    pub(super) fn remote(&self) -> Result<Remote, BlobError> {
        let failed = |error: &dyn std::error::Error| BlobError::Io {
            action: "use",
            what: self.url.to_string(),
            source: io::Error::new(io::ErrorKind::InvalidInput, told(error)),
        };
        let (scheme, prefix) = ObjectStoreScheme::parse(&self.url).map_err(|error| failed(&error))?;
        let built = match scheme {
            ObjectStoreScheme::AmazonS3 => self.s3().and_then(|store| self.numbered(store, prefix)),
            ObjectStoreScheme::GoogleCloudStorage => {
                self.google().and_then(|store| self.numbered(store, prefix))
            }
            ObjectStoreScheme::MicrosoftAzure => self.azure().map(|store| {
                let store = Arc::new(store);
                Remote::new(Arc::clone(&store), None, Some(store), prefix)
            }),
            _ => {
                let reason = io::Error::new(io::ErrorKind::Unsupported, "use s3://, gs:// or az://");
                return Err(failed(&reason));
            }
        };
        built.map_err(|error| failed(&error))
    }

    fn numbered<S>(&self, store: S, prefix: object_store::path::Path) -> object_store::Result<Remote>
    where
        S: ObjectStore + MultipartStore + Signer,
    {
        let store = Arc::new(store);
        let signer: Arc<dyn Signer> = store.clone();
        let numbered = SignedRequest::new(Arc::clone(&signer), &self.client())?;
        Ok(Remote::new(store, Some(Arc::new(numbered)), Some(signer), prefix))
    }

    /// Time limits are those of [`Remote`], which knows how long a request may take.
    fn client(&self) -> ClientOptions {
        let client = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_TIME);
        client.with_allow_http(self.allow_http)
    }

    fn s3(&self) -> object_store::Result<object_store::aws::AmazonS3> {
        let mut builder = AmazonS3Builder::from_env()
            .with_url(self.url.as_str())
            .with_client_options(self.client())
            .with_retry(retry())
            // Not every server that speaks S3 has the request for many at once.
            .with_disable_bulk_delete(true);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/'));
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(credentials) = &self.credentials {
            builder = builder
                .with_access_key_id(&credentials.name)
                .with_secret_access_key(credentials.secret.as_str());
        }
        builder.build()
    }

    fn google(&self) -> object_store::Result<object_store::gcp::GoogleCloudStorage> {
        let mut builder = GoogleCloudStorageBuilder::from_env()
            .with_url(self.url.as_str())
            .with_client_options(self.client())
            .with_retry(retry());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint.as_str().trim_end_matches('/'));
        }
        builder.build()
    }

    fn azure(&self) -> object_store::Result<object_store::azure::MicrosoftAzure> {
        let mut builder = MicrosoftAzureBuilder::from_env()
            .with_url(self.url.as_str())
            .with_client_options(self.client())
            .with_retry(retry());
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.as_str().trim_end_matches('/').to_owned());
        }
        if let Some(credentials) = &self.credentials {
            builder = builder.with_account(&credentials.name).with_access_key(credentials.secret.as_str());
        }
        builder.build()
    }
}
