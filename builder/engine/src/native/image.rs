//! Base images: found in the local store or asked for at their registry. Manifest and config are small and come at
//! once; layers stay where they are until a step needs their files.

use std::sync::Arc;

use builder_output::{BlobFetcher, BlobOrigin, ImageLayer};
use builder_plan::{ImageConfig, ImageUse, StepKey, base_key};
use builder_store::store::SnapshotId;
use builder_store::{Store, StoreError};
use registry_client::{Manifest, Repository, select_platform};
use registry_types::{
    Descriptor, Digest, ImageReference, ManifestKind, ManifestView, MediaType, Platform, Reference,
};
use tokio::sync::OnceCell;

use super::blocking::blocking;
use crate::error::{EngineError, ImageProblem, Result};

/// Largest manifest or config that is read, in bytes: registries take manifests up to 4 MiB.
const LARGEST: u64 = 8 << 20;

/// How deep indexes may lie in indexes.
const DEEPEST_INDEX: usize = 4;

/// An image that a build starts from or copies from.
#[derive(Debug)]
pub(super) struct BaseImage {
    pub(super) reference: ImageReference,
    /// Of the manifest for the platform.
    pub(super) digest: Digest,
    pub(super) config: ImageConfig,
    /// Lowest first.
    pub(super) layers: Vec<ImageLayer>,
    /// Found under its name in the local store.
    pub(super) local: bool,
    pub(super) unpacked: OnceCell<()>,
}

impl BaseImage {
    /// The snapshot of its files, whether or not it has been made; `None` for an image without layers.
    pub(super) fn snapshot(&self) -> Option<SnapshotId> {
        SnapshotId::of_layers(&self.diff_ids())
    }

    pub(super) fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| layer.diff_id).collect()
    }

    /// The key of a stage that starts from it.
    pub(super) fn key(&self, platform: &Platform) -> StepKey {
        base_key(Some(&self.digest), platform)
    }
}

/// Finds images for one build.
#[derive(Debug, Clone)]
pub(super) struct ImageFinder {
    pub(super) fetcher: BlobFetcher,
    /// Ask the registry even if there is a local image of the name.
    pub(super) pull: bool,
    /// Name of the Dockerfile, for errors.
    pub(super) dockerfile: String,
}

impl ImageFinder {
    /// Finds an image. `line` is where the Dockerfile names it.
    pub(super) async fn find(&self, wanted: &ImageUse, line: usize) -> Result<Arc<BaseImage>> {
        let found = match self.find_locally(wanted).await {
            Ok(None) => self.find_in_registry(wanted).await,
            Ok(Some(image)) => Ok(image),
            Err(problem) => Err(problem),
        };
        found.map(Arc::new).map_err(|problem| EngineError::BaseImage {
            dockerfile: self.dockerfile.clone(),
            line,
            reference: wanted.reference.to_string(),
            problem: Box::new(problem),
            hint: wanted
                .near_stage
                .as_ref()
                .map_or_else(String::new, |stage| format!("; did you mean the stage {stage}?")),
        })
    }

    async fn find_locally(&self, wanted: &ImageUse) -> Result<Option<BaseImage>, ImageProblem> {
        if self.pull || wanted.reference.digest.is_some() {
            return Ok(None);
        }
        let store = Arc::clone(self.fetcher.store());
        let reference = wanted.reference.clone();
        let platform = wanted.platform.clone();
        blocking("reading a local image", move || Ok(read_local(&store, &reference, &platform)?)).await
    }

    async fn find_in_registry(&self, wanted: &ImageUse) -> Result<BaseImage, ImageProblem> {
        let repository = self.fetcher.client().repository(&wanted.reference);
        let mut manifest = self.manifest(&repository, &wanted.reference.reference(), &[]).await?;
        for _ in 0..=DEEPEST_INDEX {
            let view = manifest.view().map_err(|error| unusable(error.to_string()))?;
            match view.kind {
                ManifestKind::Image => {
                    let config =
                        view.config.as_ref().ok_or_else(|| unusable("its manifest has no config"))?;
                    let config = self.config(&repository, config).await?;
                    let origin = BlobOrigin::of(&wanted.reference);
                    return base_image(&wanted.reference, manifest.digest, &view, &config, Some(origin));
                }
                ManifestKind::Index => {
                    let name = wanted.reference.to_string();
                    let child = select_platform(&view.manifests, &wanted.platform, &name)?;
                    let accept = std::slice::from_ref(&child.media_type);
                    manifest = self.manifest(&repository, &Reference::Digest(child.digest), accept).await?;
                }
                ManifestKind::Opaque => {
                    return Err(unusable(format!(
                        "it is of type {}, which is no image",
                        manifest.media_type
                    )));
                }
            }
        }
        Err(unusable(format!("its indexes lie more than {DEEPEST_INDEX} deep")))
    }

    /// A manifest, from the store if its digest is known and there.
    async fn manifest(
        &self,
        repository: &Repository,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<Manifest, ImageProblem> {
        if let Some(digest) = reference.digest()
            && let Some(bytes) = self.kept(digest).await?
            && let Ok(view) = ManifestView::parse(&bytes, accept.first())
        {
            return Ok(Manifest { bytes: bytes.into(), media_type: view.media_type, digest: *digest });
        }
        let manifest = repository.manifest(reference, accept).await?;
        self.keep(manifest.bytes.to_vec()).await?;
        Ok(manifest)
    }

    async fn config(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, ImageProblem> {
        if let Some(config) = self.kept(&descriptor.digest).await? {
            return Ok(config);
        }
        let config = repository.blob_bytes(&descriptor.digest, LARGEST).await?.to_vec();
        self.keep(config.clone()).await?;
        Ok(config)
    }

    async fn kept(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ImageProblem> {
        let (store, digest) = (Arc::clone(self.fetcher.store()), *digest);
        blocking("reading the store", move || match store.content.read(&digest, LARGEST) {
            Ok(content) => Ok(Some(content)),
            // A damaged one is as good as none: the registry has it.
            Err(StoreError::BlobNotFound { .. } | StoreError::DigestMismatch { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await
    }

    async fn keep(&self, content: Vec<u8>) -> Result<(), ImageProblem> {
        let store = Arc::clone(self.fetcher.store());
        blocking("writing to the store", move || Ok(store.content.put(&content).map(drop)?)).await
    }
}

/// An image under its local name; `None` if there is none, if parts of it are gone, or if it is for another platform.
fn read_local(
    store: &Store,
    reference: &ImageReference,
    platform: &Platform,
) -> Result<Option<BaseImage>, StoreError> {
    let Some(descriptor) = store.images.get(reference)? else { return Ok(None) };
    let read = |digest| match store.content.read(digest, LARGEST) {
        Err(StoreError::BlobNotFound { .. }) => Ok(None),
        content => content.map(Some),
    };
    let Some(manifest) = read(&descriptor.digest)? else { return Ok(None) };
    let Ok(view) = ManifestView::parse(&manifest, Some(&descriptor.media_type)) else { return Ok(None) };
    let Some(config) = &view.config else { return Ok(None) };
    let Some(config) = read(&config.digest)? else { return Ok(None) };
    let image = base_image(reference, descriptor.digest, &view, &config, None).ok();
    Ok(image.filter(|image| {
        image.config.platform().satisfies(platform)
            && image.layers.iter().all(|layer| store.content.contains(&layer.descriptor.digest))
    }))
}

fn unusable(reason: impl Into<String>) -> ImageProblem {
    ImageProblem::Unusable(reason.into())
}

fn base_image(
    reference: &ImageReference,
    digest: Digest,
    view: &ManifestView,
    config: &[u8],
    origin: Option<BlobOrigin>,
) -> Result<BaseImage, ImageProblem> {
    let config = ImageConfig::from_json(config)
        .map_err(|error| unusable(format!("its config is damaged: {error}")))?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != view.layers.len() {
        return Err(unusable(format!(
            "it has {} layers and its config tells of {}; is it an image of files?",
            view.layers.len(),
            diff_ids.len()
        )));
    }
    let local = origin.is_none();
    let layers = view.layers.iter().zip(diff_ids);
    let layers = layers.map(|(descriptor, diff_id)| ImageLayer {
        descriptor: descriptor.clone(),
        diff_id: *diff_id,
        origin: origin.clone(),
    });
    Ok(BaseImage {
        reference: reference.clone(),
        digest,
        layers: layers.collect(),
        config,
        local,
        unpacked: OnceCell::new(),
    })
}
