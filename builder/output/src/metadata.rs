//! What a build tells scripts: a file in the key names of BuildKit's tools, and one with the digest alone.

use std::io::Write as _;
use std::path::Path;

use registry_types::ImageReference;
use serde_json::{Value, json};

use crate::error::{OutputError, Result};
use crate::image::BuiltImage;
use crate::layout::replace;

/// The keys that BuildKit's exporters answer with, so that scripts made for those read ours.
pub fn metadata_json(image: &BuiltImage, names: &[ImageReference]) -> Value {
    let mut descriptor = json!(image.manifest_descriptor);
    descriptor["platform"] = json!(image.platform);
    let mut metadata = json!({
        "containerimage.config.digest": image.config_descriptor.digest,
        "containerimage.descriptor": descriptor,
        "containerimage.digest": image.digest(),
    });
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        metadata["image.name"] = Value::from(names.join(","));
    }
    metadata
}

/// Writes [`metadata_json`] to a file, whole or not at all.
pub fn write_metadata_file(path: &Path, image: &BuiltImage, names: &[ImageReference]) -> Result<()> {
    write_text(path, &format!("{:#}\n", metadata_json(image, names)))
}

/// Writes the manifest's digest to a file without a line end, as Docker's `--iidfile` does.
pub fn write_digest_file(path: &Path, image: &BuiltImage) -> Result<()> {
    write_text(path, &image.digest().to_string())
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    replace(path, |file| {
        file.write_all(text.as_bytes()).map_err(|error| OutputError::file("writing", path, error))
    })
}
