//! A base image with a shell, users and groups, made of the machine's busybox.

use std::{io::Write, process::Command};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use registry_types::Digest;
use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::{busybox, http::Server, run};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:2:2:daemon:/sbin:/bin/false
app:x:1000:1001:the application:/home/app:/bin/sh
web:x:33:33:web:/srv:/bin/false
";
const GROUP: &str = "root:x:0:
daemon:x:2:
web:x:33:app
app:x:1001:
extra:x:2000:app,web
";
/// The same time in every image made here: the digest of the base is the same in every run.
const TIME: u64 = 1_600_000_000;

/// An image of two layers.
#[derive(Debug)]
pub struct BaseImage {
    layers: Vec<Vec<u8>>,
}

impl BaseImage {
    /// `None`, with the reason told, where there is no busybox.
    pub fn new() -> Result<Option<Self>> {
        let Some(busybox) = busybox() else { return Ok(None) };
        let mut system = Layer::default();
        for folder in ["bin", "dev", "etc", "home", "proc", "run", "srv", "sys", "usr", "usr/bin", "var"] {
            system.folder(folder, 0o755, (0, 0))?;
        }
        system.folder("root", 0o700, (0, 0))?;
        system.folder("tmp", 0o1777, (0, 0))?;
        system.folder("home/app", 0o750, (1000, 1001))?;
        system.file("bin/busybox", &busybox, 0o755)?;
        let applets = run(Command::new("/bin/busybox").arg("--list"), b"")?.ok()?;
        for applet in applets.lines().filter(|applet| *applet != "busybox") {
            system.symlink(&format!("bin/{applet}"), "busybox")?;
        }
        system.symlink("usr/bin/env", "../../bin/busybox")?;
        let mut accounts = Layer::default();
        accounts.file("etc/passwd", PASSWD.as_bytes(), 0o644)?;
        accounts.file("etc/group", GROUP.as_bytes(), 0o644)?;
        // Something for later stages to remove and to replace.
        accounts.folder("var/data", 0o755, (0, 0))?;
        for name in ["one", "two", "three"] {
            accounts.file(&format!("var/data/{name}"), name.as_bytes(), 0o644)?;
        }
        accounts.folder("var/data/deep", 0o2775, (33, 2000))?;
        accounts.file("var/data/deep/file", b"deep", 0o4755)?;
        Ok(Some(Self { layers: vec![system.finish()?, accounts.finish()?] }))
    }

    /// Pushes it and gives the manifest's digest.
    pub fn push(&self, server: Server, repository: &str, tag: &str) -> Result<Digest> {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for tar in &self.layers {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(tar)?;
            let compressed = gzip.finish()?;
            let digest = server.push_blob(repository, &compressed)?;
            layers.push(json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest,
                "size": compressed.len()
            }));
            diff_ids.push(Digest::sha256(tar));
        }
        let history = |by: &str| json!({"created": "2020-09-13T12:26:40Z", "created_by": by});
        let config = json!({
            "architecture": "amd64", "os": "linux", "created": "2020-09-13T12:26:40Z",
            "config": {
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "BASE=base"], "Cmd": ["sh"],
                "Labels": {"base.label": "from the base", "replaced": "base"}
            },
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [history("system"), history("accounts")]
        })
        .to_string();
        let config_digest = server.push_blob(repository, config.as_bytes())?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest,
                "size": config.len()
            },
            "layers": layers
        })
        .to_string();
        server.put_manifest(repository, tag, manifest.as_bytes())?.expect(201)?;
        Ok(Digest::sha256(manifest.as_bytes()))
    }
}

/// A layer's archive while it is made.
struct Layer(Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Layer {
    fn header(kind: EntryType, mode: u32, (user, group): (u64, u64)) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(user);
        header.set_gid(group);
        header.set_mtime(TIME);
        header.set_size(0);
        header
    }

    fn folder(&mut self, path: &str, mode: u32, owner: (u64, u64)) -> Result<()> {
        let mut header = Self::header(EntryType::Directory, mode, owner);
        self.0.append_data(&mut header, format!("{path}/"), &b""[..]).context("cannot write an archive")
    }

    fn file(&mut self, path: &str, content: &[u8], mode: u32) -> Result<()> {
        let mut header = Self::header(EntryType::Regular, mode, (0, 0));
        header.set_size(content.len() as u64);
        self.0.append_data(&mut header, path, content).context("cannot write an archive")
    }

    fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = Self::header(EntryType::Symlink, 0o777, (0, 0));
        self.0.append_link(&mut header, path, target).context("cannot write an archive")
    }

    fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().context("cannot write an archive")
    }
}
