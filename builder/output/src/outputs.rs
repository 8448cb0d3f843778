//! All outputs of one build, fed while it runs and finished at its end. One that fails does not keep the others from
//! their end.

use std::sync::Arc;

use builder_store::Store;
use futures_util::future::join_all;
use registry_types::{Digest, ImageReference};
use tokio::task::spawn_blocking;

use crate::archive::write_archive_blocking;
use crate::destination::{Destination, FileTarget};
use crate::error::{OutputError, Result, joined};
use crate::event::OutputEvent;
use crate::fetch::BlobFetcher;
use crate::image::{BuiltImage, ImageLayer};
use crate::layout::write_directory_blocking;
use crate::push::{PushedTag, RepositoryPush};

/// What an output came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputResult {
    /// A tag in a registry.
    Pushed(PushedTag),
    /// A name in the local store.
    Named { image: ImageReference, digest: Digest },
    /// An archive or a layout.
    Written { target: FileTarget, digest: Digest },
}

/// The outputs of a build. Dropped before [`Outputs::finish`], all transfers end and nothing is tagged.
#[derive(Debug)]
pub struct Outputs {
    fetcher: BlobFetcher,
    pushes: Vec<RepositoryPush>,
    files: Vec<FileTarget>,
    names: Vec<ImageReference>,
}

impl Outputs {
    /// Prepares the destinations; nothing is asked or written. The fetcher is the build's own, so that a layer which
    /// both a step and an output want is fetched once.
    pub fn new(fetcher: BlobFetcher, destinations: Vec<Destination>) -> Self {
        let (mut files, mut names, mut tags) = (Vec::new(), Vec::new(), Vec::<Vec<ImageReference>>::new());
        for destination in destinations {
            match destination {
                Destination::File(target) => files.push(target),
                Destination::Store(name) => names.push(name),
                Destination::Registry(tag) => {
                    let same =
                        tags.iter_mut().find(|tags| tags.iter().any(|other| other.name() == tag.name()));
                    match same {
                        Some(tags) if tags.contains(&tag) => {}
                        Some(tags) => tags.push(tag),
                        None => tags.push(vec![tag]),
                    }
                }
            }
        }
        let pushes = tags
            .into_iter()
            .filter_map(|tags| Some(RepositoryPush::new(&fetcher, &tags.first()?.clone(), tags)))
            .collect();
        Self { fetcher, pushes, files, names }
    }

    /// Reaches the registries and logs in, so that a wrong password shows before the build and not after it.
    pub async fn check(&self) -> Result<()> {
        for push in &self.pushes {
            let host = push.repository().registry();
            let reached = self.fetcher.client().check(host).await;
            reached.map_err(|error| OutputError::push(push.repository(), error))?;
        }
        Ok(())
    }

    /// A layer of the image to come exists: pushes begin with it. To be called inside a tokio runtime.
    pub fn layer_ready(&self, layer: &ImageLayer) {
        self.pushes.iter().for_each(|push| push.start_layer(layer));
    }

    /// Brings the image to every destination, all at once. Results are in the order: pushes, files, names.
    pub async fn finish(self, image: &BuiltImage) -> Result<Vec<OutputResult>> {
        let Self { fetcher, pushes, files, names } = self;
        let pushes = join_all(pushes.into_iter().map(|push| push.finish(image)));
        let files = join_all(files.into_iter().map(|target| write_file(&fetcher, image, target)));
        let (pushes, files, names) = tokio::join!(pushes, files, name_locally(&fetcher, image, names));
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for push in pushes {
            match push {
                Ok(tags) => results.extend(tags.into_iter().map(OutputResult::Pushed)),
                Err(error) => errors.push(error),
            }
        }
        for file in files {
            match file {
                Ok(target) => results.push(OutputResult::Written { target, digest: *image.digest() }),
                Err(error) => errors.push(error),
            }
        }
        match names {
            Ok(names) => results.extend(
                names.into_iter().map(|name| OutputResult::Named { image: name, digest: *image.digest() }),
            ),
            Err(error) => errors.push(error),
        }
        joined(errors)?;
        Ok(results)
    }
}

/// Brings every layer here, at once.
async fn fetch_layers(fetcher: &BlobFetcher, image: &BuiltImage) -> Result<()> {
    let layers = image.layers.iter();
    let fetched = join_all(layers.map(|layer| fetcher.fetch(&layer.descriptor, layer.origin.as_ref()))).await;
    fetched.into_iter().collect()
}

async fn write_file(fetcher: &BlobFetcher, image: &BuiltImage, target: FileTarget) -> Result<FileTarget> {
    fetch_layers(fetcher, image).await?;
    let (store, image) = (Arc::clone(fetcher.store()), image.clone());
    let written = spawn_blocking(move || {
        let write: fn(&Store, &BuiltImage, &FileTarget) -> Result<()> =
            if target.directory { write_directory_blocking } else { write_archive_blocking };
        write(&store, &image, &target).map(|()| target)
    });
    let target = written.await.map_err(OutputError::interrupted("writing the image"))??;
    fetcher.events().tell(OutputEvent::Written { path: target.path.clone() });
    Ok(target)
}

/// Names the image in the local store, where a later build finds it as a base.
async fn name_locally(
    fetcher: &BlobFetcher,
    image: &BuiltImage,
    names: Vec<ImageReference>,
) -> Result<Vec<ImageReference>> {
    if names.is_empty() {
        return Ok(names);
    }
    fetch_layers(fetcher, image).await?;
    let (store, image) = (Arc::clone(fetcher.store()), image.clone());
    let named = spawn_blocking(move || {
        store.content.put(&image.config)?;
        store.content.put(&image.manifest)?;
        for name in &names {
            store.images.set(name, &image.manifest_descriptor)?;
        }
        Ok(names)
    });
    named.await.map_err(OutputError::interrupted("naming the image"))?
}
