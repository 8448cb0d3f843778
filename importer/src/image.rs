//! An image that is to be imported: its parts for one platform, and the names it gets on the nodes.

use std::sync::Arc;

use bytes::Bytes;
use registry_types::{
    DEFAULT_TAG, Descriptor, Digest, ImageReference, ManifestKind, ManifestView, Platform, Reference, Tag,
};
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use crate::{ImageSource, ImportError, ResolvedImage};

/// Largest config that is read: those of real images are a few KiB.
const LARGEST_CONFIG: u64 = 8 << 20;

/// A name on a node and what it must point at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) target: Descriptor,
}

/// An image of one platform, read and checked.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) reference: ImageReference,
    pub(crate) resolved: ResolvedImage,
    pub(crate) config: Descriptor,
    pub(crate) config_bytes: Bytes,
    /// Lowest first.
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) names: Vec<Name>,
}

/// The fields of an image config that decide where it runs.
#[derive(Deserialize)]
struct ConfigPlatform {
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
}

impl Image {
    /// Finds `reference` in `source` and checks that it is a container image for `platform`, which is what
    /// `node` runs.
    pub(crate) async fn read(
        source: &dyn ImageSource,
        reference: &ImageReference,
        platform: &Platform,
        node: &str,
    ) -> Result<Arc<Self>, ImportError> {
        let resolved = source
            .resolve(reference, platform)
            .await
            .map_err(|error| ImportError::source(reference, error))?;
        let (config, layers) = check_manifest(reference, &resolved)?;
        let resolved = without_distant_index(resolved);
        let config_bytes = read_config(source, reference, &config).await?;
        let not_an_image =
            |reason: String| ImportError::NotAnImage { image: Box::new(reference.clone()), reason };
        let runs: ConfigPlatform = serde_json::from_slice(&config_bytes)
            .map_err(|error| not_an_image(format!("its config cannot be read: {error}")))?;
        let (Some(os), Some(architecture)) = (runs.os, runs.architecture) else {
            return Err(not_an_image("its config names no operating system and architecture".to_owned()));
        };
        let found = Platform::new(&os, &architecture, runs.variant.as_deref());
        if !runs_on(&found, platform) {
            return Err(ImportError::WrongPlatform {
                image: Box::new(reference.clone()),
                wanted: Box::new(platform.clone()),
                found: Box::new(found),
                node: node.to_owned(),
            });
        }
        let names = names(reference, &resolved, &found);
        Ok(Arc::new(Self { reference: reference.clone(), resolved, config, config_bytes, layers, names }))
    }

    pub(crate) fn name_list(&self) -> Vec<String> {
        self.names.iter().map(|name| name.name.clone()).collect()
    }
}

/// The config and layers of an image whose manifest, and index if any, are what their digests say.
fn check_manifest(
    reference: &ImageReference,
    resolved: &ResolvedImage,
) -> Result<(Descriptor, Vec<Descriptor>), ImportError> {
    let parts = resolved.index.iter().map(|(descriptor, bytes)| (descriptor, bytes));
    for (descriptor, bytes) in parts.chain([(&resolved.manifest, &resolved.manifest_bytes)]) {
        let digest = Digest::of(descriptor.digest.algorithm(), bytes);
        if digest != descriptor.digest || bytes.len() as u64 != descriptor.size {
            return Err(ImportError::source(
                reference,
                format!("its manifest {} came as {digest}, {} bytes", descriptor.digest, bytes.len()),
            ));
        }
    }
    let view = ManifestView::parse(&resolved.manifest_bytes, Some(&resolved.manifest.media_type))
        .map_err(|error| ImportError::source(reference, error))?;
    match view.config {
        Some(config) if view.kind == ManifestKind::Image => Ok((config, view.layers)),
        _ => Err(ImportError::NotAnImage {
            image: Box::new(reference.clone()),
            reason: format!("its manifest is of type {}", view.media_type),
        }),
    }
}

/// Leaves out an index that leads to the image only through another index: the node would not have that one,
/// and a name for an index without its parts is broken.
fn without_distant_index(mut resolved: ResolvedImage) -> ResolvedImage {
    resolved.index = resolved.index.filter(|(descriptor, bytes)| {
        ManifestView::parse(bytes, Some(&descriptor.media_type))
            .is_ok_and(|view| view.manifests.iter().any(|child| child.digest == resolved.manifest.digest))
    });
    resolved
}

async fn read_config(
    source: &dyn ImageSource,
    reference: &ImageReference,
    config: &Descriptor,
) -> Result<Bytes, ImportError> {
    let failed =
        |error: &dyn std::fmt::Display| ImportError::source(reference, format!("its config: {error}"));
    if config.size > LARGEST_CONFIG {
        return Err(failed(&format!("it is longer than {LARGEST_CONFIG} bytes")));
    }
    let reader =
        source.open(reference, config).await.map_err(|error| ImportError::source(reference, error))?;
    let mut bytes = Vec::with_capacity(config.size as usize);
    reader.take(config.size + 1).read_to_end(&mut bytes).await.map_err(|error| failed(&error))?;
    let digest = Digest::of(config.digest.algorithm(), &bytes);
    if digest != config.digest {
        return Err(failed(&format!("{} came as {digest}", config.digest)));
    }
    Ok(bytes.into())
}

/// Whether an image for `image` runs on `node`. An older ARM variant runs on a newer machine; variants of
/// other architectures are the node's own matter.
fn runs_on(image: &Platform, node: &Platform) -> bool {
    let variant = |platform: &Platform| -> u32 {
        let text = platform.variant.as_deref().unwrap_or("v7");
        text.trim_start_matches('v').parse().unwrap_or(0)
    };
    image.os == node.os
        && image.architecture == node.architecture
        && (image.architecture != "arm" || variant(image) <= variant(node))
}

/// The names by which pods can use the image: by tag, by the manifest's digest, and by the index's digest if
/// there is one. A manifest's name carries the platform, without which containerd would take a wrong image
/// silently; only ARM's variants matter there, those of others would make containerd refuse what it can run.
fn names(reference: &ImageReference, resolved: &ResolvedImage, platform: &Platform) -> Vec<Name> {
    let mut manifest = resolved.manifest.clone();
    let variant = platform.variant.as_deref().filter(|_| platform.architecture.starts_with("arm"));
    manifest.platform = Some(Platform::new(&platform.os, &platform.architecture, variant));
    manifest.annotations = None;
    let mut names = Vec::new();
    if let Some(tag) = tag_of(reference) {
        names.push(Name { name: reference.with_tag(tag).to_string(), target: manifest.clone() });
    }
    names.push(Name { name: reference.with_digest(manifest.digest).to_string(), target: manifest });
    if let Some((index, _)) = &resolved.index {
        let mut index = index.clone();
        index.platform = None;
        index.annotations = None;
        names.push(Name { name: reference.with_digest(index.digest).to_string(), target: index });
    }
    names
}

/// The tag that a reference gives the image: its own, `latest` if it names neither tag nor digest.
pub(crate) fn tag_of(reference: &ImageReference) -> Option<Tag> {
    reference.tag.clone().or_else(|| match reference.reference() {
        Reference::Tag(tag) => Some(tag),
        Reference::Digest(_) => None,
    })
}

/// Why an import of `reference` may not help a pod, if so.
pub(crate) fn pull_policy_warning(reference: &ImageReference) -> Option<String> {
    (reference.digest.is_none() && tag_of(reference)?.as_str() == DEFAULT_TAG).then(|| {
        let name = reference.with_tag(DEFAULT_TAG.parse().expect("latest is a tag"));
        format!(
            "a pod that names {name} pulls it from the registry at every start, because the pull policy of \
             :{DEFAULT_TAG} is Always unless the pod says imagePullPolicy: IfNotPresent; import and name another tag or a digest"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeImage, FakeSource};

    fn reference(text: &str) -> ImageReference {
        text.parse().unwrap()
    }

    fn amd64() -> Platform {
        Platform::new("linux", "amd64", None)
    }

    #[tokio::test]
    async fn an_image_is_named_by_tag_and_digest() {
        let fake = FakeImage::new("one", &[b"layer"]);
        let source = FakeSource::new([("host:1/a:t", &fake)]);
        let image = Image::read(&source, &reference("host:1/a:t"), &amd64(), "n").await.unwrap();
        let digest = fake.manifest.digest;
        assert_eq!(image.name_list(), ["host:1/a:t".to_owned(), format!("host:1/a@{digest}")]);
        for name in &image.names {
            assert_eq!(name.target.platform, Some(amd64()));
            assert_eq!(name.target.digest, digest);
        }
        let by_digest = format!("host:1/a@{digest}");
        let source = FakeSource::new([(by_digest.as_str(), &fake)]);
        let image = Image::read(&source, &reference(&by_digest), &amd64(), "n").await.unwrap();
        assert_eq!(image.name_list(), [by_digest]);
    }

    #[tokio::test]
    async fn an_image_found_through_an_index_is_named_by_the_index_as_well() {
        let fake = FakeImage::new("one", &[b"layer"]).in_index();
        let (index, _) = fake.index.clone().unwrap();
        let source = FakeSource::new([("host:1/a", &fake)]);
        let image = Image::read(&source, &reference("host:1/a"), &amd64(), "n").await.unwrap();
        assert_eq!(
            image.name_list(),
            [
                "host:1/a:latest".to_owned(),
                format!("host:1/a@{}", fake.manifest.digest),
                format!("host:1/a@{}", index.digest)
            ]
        );
        assert_eq!(image.names[2].target.platform, None);
    }

    #[test]
    fn an_index_of_indexes_is_left_out() {
        let near = FakeImage::new("one", &[b"layer"]).in_index();
        assert!(without_distant_index(near.resolved()).index.is_some());
        let mut distant = near.clone();
        distant.index = FakeImage::new("two", &[b"layer"]).in_index().index;
        assert!(without_distant_index(distant.resolved()).index.is_none());
    }

    #[tokio::test]
    async fn an_image_for_another_machine_is_refused() {
        let fake = FakeImage::new("one", &[b"layer"]);
        let source = FakeSource::new([("host:1/a:t", &fake)]);
        let arm = Platform::new("linux", "arm64", Some("v8"));
        match Image::read(&source, &reference("host:1/a:t"), &arm, "node-7").await.unwrap_err() {
            ImportError::WrongPlatform { found, wanted, node, .. } => {
                assert_eq!((*found, *wanted, node.as_str()), (amd64(), arm, "node-7"));
            }
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn a_forged_manifest_or_config_is_refused() {
        let good = FakeImage::new("one", &[b"layer"]);
        let mut forged = good.clone();
        forged.manifest_bytes =
            Bytes::from(format!("{} ", std::str::from_utf8(&good.manifest_bytes).unwrap()));
        let mut config = good.clone();
        config.blobs.insert(good.config.digest, Bytes::from_static(b"{}"));
        for fake in [forged, config] {
            let source = FakeSource::new([("host:1/a:t", &fake)]);
            let error = Image::read(&source, &reference("host:1/a:t"), &amd64(), "n").await.unwrap_err();
            assert!(matches!(error, ImportError::Source { .. }), "{error}");
        }
    }

    #[test]
    fn only_arm_variants_reach_the_node() {
        let resolved = FakeImage::new("one", &[]).resolved();
        let given = |platform: &Platform| {
            names(&reference("host:1/a:t"), &resolved, platform)[0].target.platform.clone().unwrap()
        };
        assert_eq!(given(&Platform::new("linux", "amd64", Some("v3"))), amd64());
        let arm = Platform::new("linux", "arm64", Some("v8"));
        assert_eq!(given(&arm), arm);
    }

    #[tokio::test]
    async fn a_manifest_that_is_no_image_is_refused() {
        let fake = FakeImage::new("one", &[b"layer"]).in_index();
        let (index, bytes) = fake.index.clone().unwrap();
        let mut wrong = FakeImage::new("two", &[]);
        (wrong.manifest, wrong.manifest_bytes) = (index, bytes);
        let source = FakeSource::new([("host:1/a:t", &wrong)]);
        let error = Image::read(&source, &reference("host:1/a:t"), &amd64(), "n").await.unwrap_err();
        assert!(matches!(error, ImportError::NotAnImage { .. }), "{error}");
    }

    #[test]
    fn arm_variants_are_ordered() {
        let arm = |variant: Option<&str>| Platform::new("linux", "arm", variant);
        assert!(runs_on(&arm(Some("v6")), &arm(Some("v7"))));
        assert!(!runs_on(&arm(Some("v7")), &arm(Some("v6"))));
        assert!(runs_on(&arm(None), &arm(Some("v7"))));
        assert!(runs_on(&Platform::new("linux", "amd64", Some("v3")), &amd64()));
    }

    #[test]
    fn only_latest_is_warned_of() {
        let warned = |text: &str| pull_policy_warning(&reference(text)).is_some();
        assert!(warned("host:1/a") && warned("host:1/a:latest"));
        assert!(!warned("host:1/a:v1"));
        assert!(!warned(&format!("host:1/a:latest@{}", Digest::sha256(b""))));
    }
}
