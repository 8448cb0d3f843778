//! Copying images between registries, layouts and archives.
//!
//! Guarantees: blobs come before the manifest that names them, children before their index, referrers behind their
//! subject, names last, so that nothing is ever named before it is there. Manifests keep their bytes and so their
//! digests. A blob that several images share is copied once by one [`Copier`].

mod blob;
mod report;

use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use registry_types::{Descriptor, Digest, ManifestKind, ManifestView, Platform};
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Error, Manifest, Source,
    manifest::DEEPEST_INDEX,
    target::{Target, TargetName},
};

use report::Counter;
pub use report::{CopyEvent, CopyReport};

/// Blobs of one manifest copied at once. The client's own limit counts over all of them.
const BLOBS_AT_ONCE: usize = 8;

/// Manifests below one index, or behind one subject, copied at once.
const MANIFESTS_AT_ONCE: usize = 4;

/// How deep referrers of referrers are followed: a signature of an attestation of an image is two deep.
const DEEPEST_REFERRER: usize = 4;

/// What of an image is copied.
#[derive(Debug, Clone, Default)]
pub struct CopyOptions {
    /// The image for this platform only; else the index with everything below it.
    pub platform: Option<Platform>,
    /// Also what refers to the image and to each manifest below it.
    pub referrers: bool,
}

/// Copies any number of images into one target. Cloning is cheap.
#[derive(Clone)]
pub struct Copier {
    inner: Arc<Inner>,
}

struct Inner {
    target: Target,
    options: CopyOptions,
    listener: Box<dyn Fn(CopyEvent) + Send + Sync>,
    /// Blobs of this run: the first to want one copies it, others wait for it.
    blobs: Mutex<HashMap<Digest, Arc<OnceCell<()>>>>,
}

impl fmt::Debug for Copier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copier")
            .field("target", &self.inner.target)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Copier {
    /// A copier into `target`. `listener` is told of each step; it is called from the transfers and must return at
    /// once.
    pub fn new(
        target: Target,
        options: CopyOptions,
        listener: impl Fn(CopyEvent) + Send + Sync + 'static,
    ) -> Self {
        let inner =
            Inner { target, options, listener: Box::new(listener), blobs: Mutex::new(HashMap::new()) };
        Self { inner: Arc::new(inner) }
    }

    /// Copies the image of `source` and gives it `names`; without a name it can be had by digest only.
    pub async fn copy(&self, source: &Source, names: &[TargetName]) -> Result<CopyReport, Error> {
        let manifest = match &self.inner.options.platform {
            Some(platform) => source.resolve(platform).await?.manifest,
            None => source.top().await?,
        };
        self.copy_manifest(source, &manifest, names).await
    }

    /// Copies `manifest` of `source` with all it points to.
    pub async fn copy_manifest(
        &self,
        source: &Source,
        manifest: &Manifest,
        names: &[TargetName],
    ) -> Result<CopyReport, Error> {
        let counter = Arc::new(Counter::default());
        let job = Job { copier: self.clone(), source: source.clone(), counter: Arc::clone(&counter) };
        let view = job.below(manifest, DEEPEST_INDEX).await?;
        let target = &self.inner.target;
        if self.inner.options.referrers {
            // The subject is there by its digest, then its referrers, then its name: whoever checks signatures before
            // running an image finds them with it.
            job.put(manifest).await?;
            job.referrers(manifest.digest, DEEPEST_REFERRER).await?;
        } else if names.is_empty() {
            job.put(manifest).await?;
        } else {
            job.counter.manifest();
        }
        target.name(manifest, &view, names).await?;
        self.tell(CopyEvent::ImageDone { digest: manifest.digest });
        Ok(counter.report(manifest))
    }

    /// Completes the target. An archive is in its place only after this.
    pub async fn finish(&self) -> Result<(), Error> {
        self.inner.target.finish().await
    }

    fn tell(&self, event: CopyEvent) {
        (self.inner.listener)(event);
    }
}

/// The copy of one image.
#[derive(Clone)]
struct Job {
    copier: Copier,
    source: Source,
    counter: Arc<Counter>,
}

impl Job {
    /// Copies what `manifest` points to, and not yet itself.
    async fn below(&self, manifest: &Manifest, depth: usize) -> Result<ManifestView, Error> {
        let view = manifest.view()?;
        if view.kind == ManifestKind::Opaque {
            return Err(Error::NotFound {
                what: "an image".to_owned(),
                place: format!("{}, which is of type {}", self.source.label(), manifest.media_type),
            });
        }
        let blobs: Vec<Descriptor> = view.required_blobs().into_iter().cloned().collect();
        stream::iter(blobs)
            .map(|blob| {
                let job = self.clone();
                async move { job.blob(&blob).await }
            })
            .buffer_unordered(BLOBS_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        if depth == 0 && !view.manifests.is_empty() {
            return Err(Error::NotFound {
                what: "an image".to_owned(),
                place: format!("{}: its indexes lie more than {DEEPEST_INDEX} deep", self.source.label()),
            });
        }
        stream::iter(view.manifests.clone())
            .map(|child| {
                let job = self.clone();
                async move { job.child(&child, depth - 1).await }
            })
            .buffer_unordered(MANIFESTS_AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        Ok(view)
    }

    async fn child(&self, child: &Descriptor, depth: usize) -> Result<(), Error> {
        let child = self.source.manifest(child).await?;
        Box::pin(self.below(&child, depth)).await?;
        self.put(&child).await?;
        if self.copier.inner.options.referrers {
            self.referrers(child.digest, DEEPEST_REFERRER).await?;
        }
        Ok(())
    }

    /// Puts a manifest by its digest.
    async fn put(&self, manifest: &Manifest) -> Result<(), Error> {
        self.copier.inner.target.put_manifest(manifest).await?;
        self.counter.manifest();
        self.copier.tell(CopyEvent::ManifestDone { descriptor: manifest.descriptor() });
        Ok(())
    }

    /// Copies what refers to `subject`, which is at the target already.
    async fn referrers(&self, subject: Digest, depth: usize) -> Result<(), Error> {
        let referrers = self.source.referrers(&subject, None).await?;
        if depth == 0 && !referrers.is_empty() {
            return Err(Error::NotFound {
                what: "an end of the referrers".to_owned(),
                place: format!("{}: they lie more than {DEEPEST_REFERRER} deep", self.source.label()),
            });
        }
        // One after the other: a registry without the referrers API keeps them in one tag.
        for referrer in referrers {
            let manifest = self.source.manifest(&referrer).await?;
            let view = Box::pin(self.below(&manifest, DEEPEST_INDEX)).await?;
            self.put(&manifest).await?;
            self.copier.inner.target.list_referrer(&manifest, &view).await?;
            self.counter.referrer();
            Box::pin(self.referrers(manifest.digest, depth - 1)).await?;
        }
        Ok(())
    }

    /// Copies a blob, unless this run has done so.
    async fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        let cell = {
            let mut blobs = self.copier.inner.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(blobs.entry(blob.digest).or_default())
        };
        cell.get_or_try_init(|| async {
            let (job, blob) = (self.clone(), blob.clone());
            // A task of its own: hashing several blobs takes several cores. It ends with the copy that wants it.
            let transfer = tokio::spawn(async move { job.transfer(&blob).await });
            AbortOnDropHandle::new(transfer)
                .await
                .map_err(|error| Error::io("copying a blob", io::Error::other(error)))?
        })
        .await?;
        Ok(())
    }
}
