//! Pushes an image to one repository. Layers start as soon as they exist; the config follows when it is written; a tag
//! is put only when every blob is there, so no tag ever points to an image that cannot be pulled.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use registry_client::{BlobContent, Mount, Repository};
use registry_types::{Descriptor, Digest, ImageReference, Reference};
use tokio::task::JoinSet;

use crate::error::{OutputError, Result};
use crate::event::{OutputEvent, OutputEvents};
use crate::fetch::BlobFetcher;
use crate::image::{BuiltImage, ImageLayer};

/// A tag that points to the image, by the registry's own answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedTag {
    pub image: ImageReference,
    pub digest: Digest,
    /// Bytes that a pull transfers.
    pub size: u64,
}

/// The tags of one repository and what is on its way there. Dropped early, all transfers end.
#[derive(Debug)]
pub(crate) struct RepositoryPush {
    repository: Repository,
    tags: Vec<ImageReference>,
    fetcher: BlobFetcher,
    layers: Mutex<Layers>,
}

#[derive(Debug, Default)]
struct Layers {
    started: HashSet<Digest>,
    transfers: JoinSet<Result<()>>,
}

impl RepositoryPush {
    /// `tags` are all of the repository of the first.
    pub(crate) fn new(fetcher: &BlobFetcher, first: &ImageReference, tags: Vec<ImageReference>) -> Self {
        Self {
            repository: fetcher.client().repository(first),
            tags,
            fetcher: fetcher.clone(),
            layers: Mutex::default(),
        }
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Starts the transfer of a layer, once.
    pub(crate) fn start_layer(&self, layer: &ImageLayer) {
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        // A registry need not hold such layers, and some refuse them.
        if layer.descriptor.media_type.is_foreign_layer() || !layers.started.insert(layer.descriptor.digest) {
            return;
        }
        layers.transfers.spawn(push_layer(self.repository.clone(), self.fetcher.clone(), layer.clone()));
    }

    /// Pushes what is missing and then the tags.
    pub(crate) async fn finish(self, image: &BuiltImage) -> Result<Vec<PushedTag>> {
        for layer in &image.layers {
            self.start_layer(layer);
        }
        let Self { repository, tags, fetcher, layers } = self;
        let failed = |error| OutputError::push(&repository, error);
        let mut transfers = layers.into_inner().unwrap_or_else(PoisonError::into_inner).transfers;
        let config = BlobContent::bytes(image.config.clone());
        push(&repository, &image.config_descriptor, &config, None, fetcher.events()).await?;
        while let Some(transfer) = transfers.join_next().await {
            transfer.map_err(OutputError::interrupted("a push"))??;
        }
        let mut pushed = Vec::with_capacity(tags.len());
        for tag in tags {
            let media_type = &image.manifest_descriptor.media_type;
            let reference: Reference = tag.reference();
            let digest = repository.put_manifest(&reference, image.manifest.clone(), media_type);
            let digest = digest.await.map_err(failed)?;
            fetcher.events().tell(OutputEvent::Tagged { image: tag.clone(), digest });
            pushed.push(PushedTag { image: tag, digest, size: image.size() });
        }
        Ok(pushed)
    }
}

async fn push_layer(repository: Repository, fetcher: BlobFetcher, layer: ImageLayer) -> Result<()> {
    let ImageLayer { descriptor, origin, .. } = &layer;
    let digest = &descriptor.digest;
    let failed = |error| OutputError::push(&repository, error);
    let source = origin.as_ref().filter(|origin| {
        origin.registry == *repository.registry() && origin.repository != *repository.name()
    });
    let source = source.map(|origin| &origin.repository);
    if !fetcher.store().content.contains(digest) {
        // The registry may have it or take it from a neighbour: then its bytes never come to this machine.
        let how = if repository.blob_exists(digest).await.map_err(failed)? {
            Some(Mount::Existed)
        } else {
            match source {
                Some(source) if repository.mount(digest, source).await.map_err(failed)? => {
                    Some(Mount::Mounted)
                }
                _ => None,
            }
        };
        if let Some(how) = how {
            let (repository, size) = (repository.to_string(), descriptor.size);
            fetcher.events().tell(OutputEvent::Pushed { repository, digest: *digest, size, how });
            return Ok(());
        }
        fetcher.fetch(descriptor, origin.as_ref()).await?;
    }
    let content = BlobContent::open(&fetcher.store().content.path(digest)).await.map_err(failed)?;
    push(&repository, descriptor, &content, source, fetcher.events()).await
}

async fn push(
    repository: &Repository,
    descriptor: &Descriptor,
    content: &BlobContent,
    source: Option<&registry_types::RepositoryName>,
    events: &OutputEvents,
) -> Result<()> {
    let (digest, size) = (descriptor.digest, descriptor.size);
    events.tell(OutputEvent::Pushing { repository: repository.to_string(), digest, size });
    let how = repository.push_blob(&digest, content, source).await;
    let how = how.map_err(|error| OutputError::push(repository, error))?;
    events.tell(OutputEvent::Pushed { repository: repository.to_string(), digest, size, how });
    Ok(())
}
