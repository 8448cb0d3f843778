//! What every engine stores of a manifest beside its bytes, so that they agree on it.

use registry_types::{Digest, ManifestView};

use crate::{MetadataError, NewManifest};

/// What a row of `manifest_references` points at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReferenceKind {
    Config = 1,
    Layer = 2,
    Child = 3,
    Subject = 4,
}

/// Everything that the manifest names, in its order; a digest may come twice.
pub(crate) fn references(view: &ManifestView) -> impl Iterator<Item = (ReferenceKind, Digest)> {
    let config = view.config.iter().map(|config| (ReferenceKind::Config, config));
    let layers = view.layers.iter().map(|layer| (ReferenceKind::Layer, layer));
    let children = view.manifests.iter().map(|child| (ReferenceKind::Child, child));
    let subject = view.subject.iter().map(|subject| (ReferenceKind::Subject, subject));
    config.chain(layers).chain(children).chain(subject).map(|(kind, part)| (kind, part.digest))
}

/// Annotations as a JSON object, for the referrers list: only of manifests that have a subject.
pub(crate) fn annotations(view: &ManifestView) -> Result<Option<String>, MetadataError> {
    let listed = view.subject.is_some() && !view.annotations.is_empty();
    let text = listed.then(|| serde_json::to_string(&view.annotations)).transpose();
    text.map_err(|error| MetadataError::Damaged { reason: error.to_string() })
}

/// Bytes of the manifest, its config and its layers, each digest once. Sizes are what the manifest claims, so
/// the sum stops at the largest number a column holds.
pub(crate) fn image_size(manifest: &NewManifest) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let parts = manifest.view.config.iter().chain(&manifest.view.layers);
    let parts = parts.filter(|part| seen.insert(part.digest)).map(|part| part.size);
    let size = parts.fold(manifest.bytes.len() as u64, u64::saturating_add);
    size.min(i64::MAX as u64)
}
