//! A small image as an OCI layout, made from nothing: for clients that push.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use registry_types::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{http::Server, skip};

/// An OCI layout folder with one image, tagged `latest`, whose only layer holds `files`.
#[derive(Debug)]
pub struct Layout {
    folder: TempDir,
    pub manifest: Digest,
    pub config: Digest,
    pub layer: Digest,
}

/// A shell without libraries, in an image the only file that a container needs.
const BUSYBOX: &str = "/bin/busybox";

impl Layout {
    /// An image that can run: it holds `/busybox`, and `/greeting` with `text`. `None`, with the reason told,
    /// where there is no busybox.
    pub fn runnable(text: &str) -> Result<Option<Self>> {
        busybox()
            .map(|busybox| Self::new(&[("busybox", &busybox), ("greeting", text.as_bytes())]))
            .transpose()
    }

    /// An image that holds `text` and a megabyte that does not compress.
    pub fn sample(text: &str) -> Result<Self> {
        // The finalizer of splitmix64: every bit of the place decides about every bit of the byte.
        let noise: Vec<u8> = (1..=1_u64 << 20)
            .map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .map(|mixed| ((mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 56) as u8)
            .collect();
        Self::new(&[("greeting", text.as_bytes()), ("noise", &noise)])
    }

    pub fn new(files: &[(&str, &[u8])]) -> Result<Self> {
        // buildah makes an image name of the path, and that must be in lower case.
        let name = format!("slipway-layout-{}", uuid::Uuid::new_v4());
        let folder = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir()?;
        let blobs = folder.path().join("blobs/sha256");
        fs::create_dir_all(&blobs)?;
        let put = |bytes: &[u8]| -> Result<Digest> {
            let digest = Digest::sha256(bytes);
            fs::write(blobs.join(digest.hex()), bytes)?;
            Ok(digest)
        };
        let tar = plain_tar(files);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar)?;
        let compressed = gzip.finish()?;
        let layer = put(&compressed)?;
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&tar)]}
        });
        let config_bytes = config.to_string().into_bytes();
        let config = put(&config_bytes)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config, config_bytes.len()),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer, compressed.len())]
        });
        let manifest_bytes = manifest.to_string().into_bytes();
        let manifest = put(&manifest_bytes)?;
        let mut entry =
            descriptor("application/vnd.oci.image.manifest.v1+json", &manifest, manifest_bytes.len());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
        fs::write(
            folder.path().join("index.json"),
            json!({"schemaVersion": 2, "manifests": [entry]}).to_string(),
        )?;
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self { folder, manifest, config, layer })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// `oci:FOLDER:latest`, as skopeo and buildah name it.
    pub fn transport(&self) -> String {
        format!("oci:{}:latest", self.folder.path().display())
    }

    /// The bytes of a blob or of the manifest.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = Path::new(self.folder.path()).join("blobs/sha256").join(digest.hex());
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Pushes it over bare HTTP, to a registry that lets everyone push.
    pub fn push(&self, server: Server, repository: &str, tag: &str) -> Result<()> {
        for digest in [&self.layer, &self.config] {
            server.push_blob(repository, &self.read(digest)?)?;
        }
        server.put_manifest(repository, tag, &self.read(&self.manifest)?)?.expect(201).map(drop)
    }
}

/// The bytes of busybox. `None`, with the reason told, where it is not installed.
pub fn busybox() -> Option<Vec<u8>> {
    let bytes = fs::read(BUSYBOX).ok();
    if bytes.is_none() {
        skip("busybox-static is not installed");
    }
    bytes
}

fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// A ustar archive of plain executable files.
pub fn plain_tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut tar = Vec::new();
    for (name, content) in files {
        let mut header = [0_u8; BLOCK];
        let mut field =
            |offset: usize, value: &[u8]| header[offset..offset + value.len()].copy_from_slice(value);
        field(0, name.as_bytes());
        field(100, b"0000755\0");
        field(108, b"0000000\0");
        field(116, b"0000000\0");
        field(124, format!("{:011o}\0", content.len()).as_bytes());
        field(136, b"00000000000\0");
        field(148, b"        ");
        field(156, b"0");
        field(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_size_that_clients_move() -> Result<()> {
        let sample = Layout::sample("text")?;
        assert!(sample.read(&sample.layer)?.len() > 1_000_000);
        Ok(())
    }
}
