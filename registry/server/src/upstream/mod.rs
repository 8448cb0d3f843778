//! Upstreams of mirrors, asked with the registry client, each with a login and connections of its own.

use std::{fmt, fs, path::PathBuf, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt};
use registry_client::{Client, Credential, Credentials, Error, Repository, Secret};
use registry_core::{
    Mirror, MirrorSettings, Mirrors, Upstream, UpstreamAnswer, UpstreamBlob, UpstreamError, UpstreamManifest,
};
use registry_types::{DOCKER_HUB, Digest, Reference, RegistryHost, RepositoryName};

use crate::{ServerError, UpstreamConfig, run::off_workers};

/// How long an upstream may take to be connected to: clients wait meanwhile, and what is stored could be served.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take for a header; a registry in front of a cold object store takes seconds.
const HEADER_LIMIT: Duration = Duration::from_secs(15);
/// How long it may be silent within a body.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// Transfers at once from one upstream: the core bounds downloads, and none may wait here while it counts there.
const TRANSFERS: usize = 1024;

/// The mirrors of a configuration.
pub(crate) async fn mirrors(upstreams: &[UpstreamConfig]) -> Result<Mirrors, ServerError> {
    let mut mirrors = Vec::new();
    for upstream in upstreams {
        let (prefix, host) = (upstream.path_prefix()?, upstream.host()?);
        let settings = MirrorSettings {
            prefix,
            name: host.to_string(),
            namespaces: upstream.namespaces(&host),
            docker_hub: host.as_str() == DOCKER_HUB,
            revalidate: Duration::from_secs(upstream.revalidate_seconds),
            negative: Duration::from_secs(upstream.negative_seconds),
        };
        let client = client(upstream, &host).await?;
        mirrors.push(Mirror::new(settings, Arc::new(RemoteRegistry { client, host })));
    }
    Ok(Mirrors::new(mirrors))
}

async fn client(upstream: &UpstreamConfig, host: &RegistryHost) -> Result<Client, ServerError> {
    let mut credentials = Credentials::none();
    if let (Some(user), Some(path)) = (upstream.username.clone(), upstream.password_file.clone()) {
        let password = off_workers(move || password_blocking(path)).await?;
        credentials = credentials.with(host.clone(), Credential::Basic { user, password });
    }
    let mut builder = Client::builder()
        .credentials(credentials)
        // The core tries again where that is of use; a busy upstream is left alone.
        .retries(0, Duration::ZERO)
        .connect_limit(CONNECT_LIMIT)
        .header_limit(HEADER_LIMIT)
        .idle_limit(IDLE_LIMIT)
        .transfers(TRANSFERS);
    if upstream.url.scheme() == "http" {
        builder = builder.insecure([host.clone()]);
    }
    if let Some(authorities) = &upstream.authorities {
        builder = builder.authority_file(authorities);
    }
    builder.build().map_err(|error| ServerError::Config(format!("the upstream {host}: {error}")))
}

fn password_blocking(path: PathBuf) -> Result<Secret, ServerError> {
    let text = fs::read_to_string(&path).map(Secret::new).map_err(|source| ServerError::Data {
        action: "read",
        path,
        source,
    })?;
    Ok(Secret::new(text.expose().trim_end_matches(['\r', '\n'])))
}

/// A registry elsewhere.
struct RemoteRegistry {
    client: Client,
    host: RegistryHost,
}

impl fmt::Debug for RemoteRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteRegistry({})", self.host)
    }
}

impl RemoteRegistry {
    fn repository(&self, name: &RepositoryName) -> Repository {
        self.client.repository_at(self.host.clone(), name.clone())
    }
}

impl Upstream for RemoteRegistry {
    fn manifest_digest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<Digest>> {
        async move {
            let head = self.repository(repository).manifest_head(reference, &[]).await;
            Ok(found(head)?.flatten().map(|descriptor| descriptor.digest))
        }
        .boxed()
    }

    fn manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> UpstreamAnswer<'a, Option<UpstreamManifest>> {
        async move {
            let manifest = found(self.repository(repository).manifest(reference, &[]).await)?;
            Ok(manifest.map(|manifest| UpstreamManifest {
                digest: manifest.digest,
                media_type: manifest.media_type,
                bytes: manifest.bytes,
            }))
        }
        .boxed()
    }

    fn blob_size<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
    ) -> UpstreamAnswer<'a, Option<u64>> {
        async move { Ok(found(self.repository(repository).blob_size(digest).await)?.flatten()) }.boxed()
    }

    fn blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        offset: u64,
    ) -> UpstreamAnswer<'a, Option<UpstreamBlob>> {
        async move {
            let tail = found(self.repository(repository).blob_tail(digest, offset).await)?;
            Ok(tail.map(|tail| UpstreamBlob {
                size: tail.size(),
                bytes: Box::pin(tail.map(|piece| piece.map_err(upstream_error))),
            }))
        }
        .boxed()
    }
}

/// What is not there is an answer, not an error.
fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, UpstreamError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(upstream_error(error)),
    }
}

fn upstream_error(error: Error) -> UpstreamError {
    let reason = error.to_string();
    match error {
        Error::Unauthorized { reason, .. } => UpstreamError::Unauthorized { reason },
        Error::Denied { message, .. } => UpstreamError::Denied { reason: message },
        Error::TooManyRequests { retry_after, .. } => UpstreamError::Busy { retry_after },
        Error::DigestMismatch { .. }
        | Error::SizeMismatch { .. }
        | Error::TooLarge { .. }
        | Error::Malformed(_) => UpstreamError::Unusable { reason },
        Error::Registry { status, .. } if status < 500 => UpstreamError::Unusable { reason },
        _ => UpstreamError::Away { reason },
    }
}
