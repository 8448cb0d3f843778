//! An image as a puller gets it, with everything that can be checked about it checked.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use flate2::read::MultiGzDecoder;
use registry_types::Digest;
use serde_json::Value;

use super::tree::Tree;
use crate::http::Server;

/// An image of one platform, read whole.
#[derive(Debug)]
pub struct Image {
    pub manifest: Value,
    pub config: Value,
    /// Archives of the layers, decompressed, lowest first.
    pub layers: Vec<Vec<u8>>,
}

impl Image {
    /// Pulls an image. Sizes, digests and diff ids that do not fit are errors.
    pub fn pull(server: Server, repository: &str, reference: &str) -> Result<Self> {
        let answer = server.get(&format!("/v2/{repository}/manifests/{reference}"))?.expect(200)?;
        let manifest = answer.json()?;
        let config_bytes = blob(server, repository, &manifest["config"])?;
        let config: Value = serde_json::from_slice(&config_bytes)?;
        let descriptors = manifest["layers"].as_array().context("a manifest has layers")?;
        let diff_ids = config["rootfs"]["diff_ids"].as_array().context("a config has diff ids")?;
        ensure!(
            descriptors.len() == diff_ids.len(),
            "{} layers, {} diff ids",
            descriptors.len(),
            diff_ids.len()
        );
        let mut layers = Vec::new();
        for (descriptor, diff_id) in descriptors.iter().zip(diff_ids) {
            let mut tar = Vec::new();
            let compressed = blob(server, repository, descriptor)?;
            MultiGzDecoder::new(compressed.as_slice())
                .read_to_end(&mut tar)
                .context("a layer is no gzip stream")?;
            let found = Digest::sha256(&tar).to_string();
            ensure!(
                Some(found.as_str()) == diff_id.as_str(),
                "the diff id is {diff_id}, the layer's {found}"
            );
            layers.push(tar);
        }
        let history = config["history"].as_array().map(Vec::as_slice).unwrap_or_default();
        let filled = history.iter().filter(|entry| entry["empty_layer"] != true).count();
        ensure!(filled == layers.len(), "history tells of {filled} layers, there are {}", layers.len());
        Ok(Self { manifest, config, layers })
    }

    /// The files that a container would see.
    pub fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for (index, layer) in self.layers.iter().enumerate() {
            tree.apply(layer).with_context(|| format!("layer {index}"))?;
        }
        Ok(tree)
    }
}

fn blob(server: Server, repository: &str, descriptor: &Value) -> Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().context("a descriptor has a digest")?;
    let bytes = server.get(&format!("/v2/{repository}/blobs/{digest}"))?.expect(200)?.body;
    ensure!(descriptor["size"].as_u64() == Some(bytes.len() as u64), "the size in {descriptor} is wrong");
    ensure!(Digest::sha256(&bytes).to_string() == digest, "the registry gave something else for {digest}");
    Ok(bytes)
}
