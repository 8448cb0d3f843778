//! What one node lacks: the blobs to send and the names to record. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use registry_types::{Descriptor, Digest};

use crate::{ImageReport, ImageState, image::Image, node::Inventory};

/// A blob to send.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) descriptor: Descriptor,
    pub(crate) content: Content,
}

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Manifests and configs: read already.
    Bytes(Bytes),
    /// A layer of this image, to be opened at its source.
    Layer(Arc<Image>),
}

/// Everything that one stream to a node carries.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) parts: Vec<Part>,
    /// Name annotations of the stream's index, with their targets.
    pub(crate) names: Vec<(String, Descriptor)>,
    pub(crate) images: Vec<ImageReport>,
    pub(crate) layers_sent: usize,
    pub(crate) layers_skipped: usize,
}

impl Plan {
    /// Compares `images` with what a node has. Blobs that several images share are sent once; names are sent
    /// only for images of which something is missing.
    pub(crate) fn new(images: &[Arc<Image>], inventory: &Inventory) -> Self {
        let mut plan = Self::default();
        let mut seen = HashSet::new();
        for image in images {
            let missing_content = plan.add_content(image, inventory, &mut seen);
            let missing_name =
                image.names.iter().any(|name| !inventory.points_at(&name.name, &name.target.digest));
            if missing_content || missing_name {
                plan.names.extend(image.names.iter().map(|name| (name.name.clone(), name.target.clone())));
            }
            plan.images.push(ImageReport {
                image: image.reference.to_string(),
                digest: image.resolved.manifest.digest,
                names: image.name_list(),
                state: match (missing_content, missing_name) {
                    (true, _) => ImageState::ContentMissing,
                    (false, true) => ImageState::NamesMissing,
                    (false, false) => ImageState::Present,
                },
            });
        }
        plan
    }

    /// As [`Plan::new`], with every name: importing a name again unpacks what was not unpacked.
    pub(crate) fn again(images: &[Arc<Image>], inventory: &Inventory) -> Self {
        let names = images.iter().flat_map(|image| &image.names);
        let names = names.map(|name| (name.name.clone(), name.target.clone())).collect();
        Self { names, ..Self::new(images, inventory) }
    }

    /// Adds the parts of `image` that are missing; whether there were any. A part that an earlier image of
    /// the plan brings counts as missing for this one too, since its names then need that stream.
    fn add_content(&mut self, image: &Arc<Image>, inventory: &Inventory, seen: &mut HashSet<Digest>) -> bool {
        let resolved = &image.resolved;
        let index = resolved.index.iter().map(|(descriptor, bytes)| (descriptor, bytes));
        let small = index
            .chain([(&resolved.manifest, &resolved.manifest_bytes), (&image.config, &image.config_bytes)]);
        let small = small.map(|(descriptor, bytes)| (descriptor, Content::Bytes(bytes.clone()), false));
        // Layers that registries need not hold are the node's own matter, as when it pulls.
        let layers = image.layers.iter().filter(|layer| !layer.media_type.is_foreign_layer());
        let layers = layers.map(|layer| (layer, Content::Layer(image.clone()), true));
        let mut any_missing = false;
        for (descriptor, content, is_layer) in small.chain(layers) {
            let missing = !inventory.holds(&descriptor.digest);
            any_missing |= missing;
            if seen.insert(descriptor.digest) {
                self.layers_sent += usize::from(is_layer && missing);
                self.layers_skipped += usize::from(is_layer && !missing);
                if missing {
                    self.parts.push(Part { descriptor: descriptor.clone(), content });
                }
            }
        }
        any_missing
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.names.is_empty()
    }

    /// Length of the blobs to send, in bytes.
    pub(crate) fn blob_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.descriptor.size).sum()
    }

    /// Every name that the images must have, with its target's digest and the image's config.
    pub(crate) fn wanted(images: &[Arc<Image>]) -> BTreeMap<String, Wanted> {
        images
            .iter()
            .flat_map(|image| {
                image.names.iter().map(|name| {
                    let wanted = Wanted { target: name.target.digest, config: image.config.digest };
                    (name.name.clone(), wanted)
                })
            })
            .collect()
    }
}

/// What a name must point at when the import is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) target: Digest,
    /// The digest by which CRI knows the image.
    pub(crate) config: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeImage, node_tables};

    fn sent(plan: &Plan) -> Vec<Digest> {
        plan.parts.iter().map(|part| part.descriptor.digest).collect()
    }

    #[test]
    fn an_empty_node_gets_everything_once_and_in_order() {
        let one = FakeImage::new("one", &[b"base", b"top"]);
        let two = FakeImage::new("two", &[b"base", b"other"]);
        let images = [one.image("host:1/a:1"), two.image("host:1/a:2")];
        let plan = Plan::new(&images, &Inventory::default());
        let expected = [
            one.manifest.digest,
            one.config.digest,
            one.layers[0].digest,
            one.layers[1].digest,
            two.manifest.digest,
            two.config.digest,
            two.layers[1].digest,
        ];
        assert_eq!(sent(&plan), expected);
        assert_eq!((plan.layers_sent, plan.layers_skipped), (3, 0));
        assert_eq!(plan.names.len(), 4);
        assert_eq!(plan.blob_bytes(), plan.parts.iter().map(|part| part.descriptor.size).sum::<u64>());
        assert!(plan.images.iter().all(|image| image.state == ImageState::ContentMissing));
    }

    #[test]
    fn a_changed_layer_is_all_that_is_sent_beside_manifest_and_config() {
        let old = FakeImage::new("old", &[b"base", b"top"]);
        let new = FakeImage::new("new", &[b"base", b"changed"]);
        let (images, content) = node_tables(&[("host:1/a:1", &old)]);
        let inventory = Inventory::parse(&images, &content);
        let plan = Plan::new(&[new.image("host:1/a:1")], &inventory);
        assert_eq!(sent(&plan), [new.manifest.digest, new.config.digest, new.layers[1].digest]);
        assert_eq!((plan.layers_sent, plan.layers_skipped), (1, 1));
    }

    #[test]
    fn nothing_is_sent_when_all_is_there_and_only_names_when_one_is_missing() {
        let fake = FakeImage::new("one", &[b"base"]);
        let image = fake.image("host:1/a:1");
        let by_digest = image.names[1].name.clone();
        let (images, content) = node_tables(&[("host:1/a:1", &fake), (by_digest.as_str(), &fake)]);
        let plan = Plan::new(std::slice::from_ref(&image), &Inventory::parse(&images, &content));
        assert!(plan.is_empty() && plan.images[0].state == ImageState::Present);
        assert_eq!(plan.layers_skipped, 1);

        let other_tag = fake.image("host:1/a:2");
        let plan = Plan::new(&[other_tag], &Inventory::parse(&images, &content));
        assert!(plan.parts.is_empty() && !plan.is_empty());
        assert_eq!(plan.images[0].state, ImageState::NamesMissing);
        let names: Vec<&str> = plan.names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["host:1/a:2", by_digest.as_str()]);
    }

    #[test]
    fn a_blob_that_no_record_holds_is_sent_again() {
        let fake = FakeImage::new("one", &[b"base"]);
        let (_, content) = node_tables(&[("host:1/a:1", &fake)]);
        let plan = Plan::new(&[fake.image("host:1/a:1")], &Inventory::parse("", &content));
        assert_eq!(plan.layers_sent, 1);
    }
}
