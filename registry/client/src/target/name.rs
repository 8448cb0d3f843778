//! What an image is called at its target.

use registry_types::{DEFAULT_TAG, ImageReference, Tag};

/// A tag in a registry; in a layout or archive a reference name, and the whole name that docker and containerd read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetName {
    pub(crate) reference: String,
    pub(crate) image: Option<ImageReference>,
}

impl TargetName {
    /// A tag and nothing more.
    pub fn tag(tag: Tag) -> Self {
        Self { reference: tag.to_string(), image: None }
    }

    /// The name `image`, by its tag.
    pub fn image(image: &ImageReference) -> Self {
        let tag = image.tag.as_ref().map_or(DEFAULT_TAG, Tag::as_str).to_owned();
        let image = ImageReference { digest: None, ..image.clone() };
        Self { reference: tag, image: Some(image) }
    }

    /// The reference name `text` of a layout, which is a whole name if it has a slash.
    pub fn reference(text: &str) -> Self {
        let image = if text.contains('/') { text.parse().ok() } else { None };
        Self { reference: text.to_owned(), image }
    }

    /// The tag in a registry, the reference name elsewhere.
    pub fn as_str(&self) -> &str {
        &self.reference
    }
}
