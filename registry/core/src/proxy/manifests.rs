//! Pulling manifests through a mirror: by digest what is here is right for ever, by tag it is asked for again after
//! the mirror's time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use registry_auth::{Grant, Pull};
use registry_blobs::BlobStore;
use registry_metadata::{ManifestRecord, Metadata, NewManifest};
use registry_types::{Digest, ManifestView, Reference, RepositoryName};
use time::OffsetDateTime;

use super::{
    UpstreamError, UpstreamManifest,
    mirror::{Origin, Wanted},
};
use crate::{CoreError, Registry};

/// A manifest to send.
#[derive(Debug, Clone)]
pub struct PulledManifest {
    pub record: Arc<ManifestRecord>,
    /// Set when the upstream could not be asked whether the tag still names it.
    pub stale: Option<Stale>,
}

impl PulledManifest {
    fn current(record: Arc<ManifestRecord>) -> Self {
        Self { record, stale: None }
    }
}

/// What is known of a tag that could not be validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// Time since the tag was last known to be the upstream's.
    pub age: Duration,
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// As [`Registry::manifest`]; what a mirrored repository lacks is fetched, and tags are validated.
    ///
    /// # Errors
    /// [`CoreError::Upstream`] when the upstream does not give it and nothing is here instead.
    pub async fn pull_manifest(
        &self,
        grant: &Grant<Pull>,
        reference: &Reference,
    ) -> Result<PulledManifest, CoreError> {
        let Some(origin) = self.origin(grant.repository()) else {
            return self.manifest(grant, reference).await.map(PulledManifest::current);
        };
        let key = (origin.local.clone(), reference.clone());
        let stored = self.stored_manifest(grant, reference).await?;
        if let Some(known) = known(&origin, &key, stored) {
            return known;
        }
        let turn = origin.mirror.turns.slot(key.clone());
        let _turn = turn.lock().await;
        // What somebody else has learnt meanwhile.
        let stored = self.stored_manifest(grant, reference).await?;
        if let Some(known) = known(&origin, &key, stored.clone()) {
            return known;
        }
        let asked = match (reference, &stored) {
            (Reference::Tag(_), Some(stored)) => self.validate(grant, &origin, reference, stored).await,
            _ => self.fetch_manifest(grant, &origin, reference, reference).await,
        };
        match asked {
            Ok(record) => {
                origin.mirror.validated.put(key, Instant::now());
                Ok(PulledManifest::current(record))
            }
            Err(error) => match (&error, stored) {
                (CoreError::Upstream(failure), Some(record)) if failure.error.may_pass() => {
                    tracing::warn!(repository = %origin.local, %reference, %error, "a tag is served stale");
                    Ok(stale(&origin, &key, record))
                }
                _ => Err(origin.remember(Wanted::Manifest(key.0, key.1), error)),
            },
        }
    }

    async fn stored_manifest(
        &self,
        grant: &Grant<Pull>,
        reference: &Reference,
    ) -> Result<Option<Arc<ManifestRecord>>, CoreError> {
        // What is used stays.
        let kept = async {
            let record = self.manifest(grant, reference).await?;
            self.keep_manifest(grant, &record).await?;
            Ok(record)
        };
        match kept.await {
            Ok(record) => Ok(Some(record)),
            Err(CoreError::ManifestUnknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks whether a stored tag still names what it did, and fetches what it names now if not.
    async fn validate(
        &self,
        grant: &Grant<Pull>,
        origin: &Origin,
        reference: &Reference,
        stored: &Arc<ManifestRecord>,
    ) -> Result<Arc<ManifestRecord>, CoreError> {
        let question = origin.mirror.upstream.manifest_digest(&origin.remote, reference);
        let digest = origin.ask(question).await.map_err(|error| origin.failure(error))?;
        let digest = digest.ok_or_else(|| unknown(&origin.local, reference))?;
        if digest == stored.digest {
            return Ok(Arc::clone(stored));
        }
        match self.stored_manifest(grant, &Reference::Digest(digest)).await? {
            Some(record) => {
                let ManifestRecord { digest, media_type, bytes, .. } = &*record;
                let (digest, media_type, bytes) = (*digest, media_type.clone(), bytes.clone());
                self.store_manifest(origin, reference, UpstreamManifest { digest, media_type, bytes })
                    .await?;
                Ok(record)
            }
            None => self.fetch_manifest(grant, origin, reference, &Reference::Digest(digest)).await,
        }
    }

    /// Fetches the manifest `what` and stores it under `reference`.
    async fn fetch_manifest(
        &self,
        grant: &Grant<Pull>,
        origin: &Origin,
        reference: &Reference,
        what: &Reference,
    ) -> Result<Arc<ManifestRecord>, CoreError> {
        let asked = origin.ask(origin.mirror.upstream.manifest(&origin.remote, what)).await;
        let manifest = asked.map_err(|error| origin.failure(error))?;
        let manifest = manifest.ok_or_else(|| unknown(&origin.local, reference))?;
        let digest = manifest.digest;
        self.store_manifest(origin, reference, manifest).await?;
        self.manifest(grant, &Reference::Digest(digest)).await
    }

    /// Its parts come when somebody asks for them.
    async fn store_manifest(
        &self,
        origin: &Origin,
        reference: &Reference,
        manifest: UpstreamManifest,
    ) -> Result<(), CoreError> {
        let UpstreamManifest { digest, media_type, bytes } = manifest;
        let unusable = |reason: String| origin.failure(UpstreamError::Unusable { reason });
        let limit = self.limits().manifest_bytes;
        if bytes.len() > limit {
            return Err(unusable(format!("manifest {digest} is larger than {limit} bytes")));
        }
        let actual = Digest::of(digest.algorithm(), &bytes);
        if actual != digest || reference.digest().is_some_and(|wanted| *wanted != digest) {
            return Err(unusable(format!("it gave {actual} for manifest {reference}")));
        }
        let view = ManifestView::parse(&bytes, Some(&media_type))
            .map_err(|error| unusable(format!("manifest {digest}: {error}")))?;
        let manifest = NewManifest {
            repository: origin.local.clone(),
            digest,
            bytes,
            view,
            tags: reference.tag().cloned().into_iter().collect(),
            immutable_tags: Vec::new(),
            allow_missing_blobs: true,
        };
        Ok(self.metadata.put_manifest(manifest, self.change()).await?)
    }
}

type Key = (RepositoryName, Reference);

/// The answer that needs no question, if there is one.
fn known(
    origin: &Origin,
    key: &Key,
    stored: Option<Arc<ManifestRecord>>,
) -> Option<Result<PulledManifest, CoreError>> {
    let refused = origin.refused(&Wanted::Manifest(key.0.clone(), key.1.clone()));
    match (stored, &key.1) {
        (Some(record), Reference::Digest(_)) => Some(Ok(PulledManifest::current(record))),
        (_, _) if refused.is_some() => refused.map(Err),
        (None, _) => None,
        (Some(record), Reference::Tag(_)) => {
            let validated = origin.mirror.validated.get(key);
            if validated.is_some_and(|at| at.elapsed() < origin.mirror.settings.revalidate) {
                return Some(Ok(PulledManifest::current(record)));
            }
            origin.mirror.open().is_err().then(|| Ok(stale(origin, key, record)))
        }
    }
}

fn stale(origin: &Origin, key: &Key, record: Arc<ManifestRecord>) -> PulledManifest {
    let age = match origin.mirror.validated.get(key) {
        Some(at) => at.elapsed(),
        // Since an earlier run of the server; it was the upstream's when it was stored.
        None => Duration::try_from(OffsetDateTime::now_utc() - record.pushed_at).unwrap_or_default(),
    };
    PulledManifest { record, stale: Some(Stale { age }) }
}

fn unknown(repository: &RepositoryName, reference: &Reference) -> CoreError {
    CoreError::ManifestUnknown { repository: repository.clone(), reference: reference.clone() }
}
