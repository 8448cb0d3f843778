//! The disciplines. Each does the same work against any contestant and gives what it measured.

mod listing;
mod memory;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use registry_types::{Digest, DigestHasher};
use serde_json::json;
use tokio::task::JoinSet;

pub(crate) use listing::{Fill, fill, first_page};
pub(crate) use memory::{Load, Protocol, memory};

use crate::{
    servers::{Contestant, REPOSITORY},
    wire::Connection,
};

/// Wall seconds and the server's CPU seconds of some work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall: f64,
    pub(crate) cpu: f64,
}

/// Random-looking content that does not repeat within a MiB; the same for every contestant.
pub(crate) fn content(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64: not random enough for anything but filling.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The digest of `content` repeated to `length` bytes, as [`Connection::upload`] sends it.
pub(crate) fn repeated_digest(content: &[u8], length: u64) -> Digest {
    let mut hasher = DigestHasher::new(registry_types::Algorithm::Sha256);
    let mut left = length as usize;
    while left > 0 {
        let part = content.get(..content.len().min(left)).unwrap_or(content);
        hasher.update(part);
        left -= part.len();
    }
    hasher.finish()
}

/// Pushes a blob with POST and PUT.
pub(crate) async fn push_blob(
    connection: &mut Connection,
    content: &[u8],
    length: u64,
    digest: &Digest,
) -> Result<()> {
    let (head, _) = connection.request("POST", &format!("/v2/{REPOSITORY}/blobs/uploads/"), "", b"").await?;
    ensure!(head.status == 202, "starting an upload answered {}", head.status);
    let location = head.location.context("no Location")?;
    let separator = if location.contains('?') { '&' } else { '?' };
    let head = connection.upload(&format!("{location}{separator}digest={digest}"), content, length).await?;
    ensure!(head.status == 201, "the upload answered {}", head.status);
    Ok(())
}

/// Pushes one blob of `length` bytes.
pub(crate) async fn push(contestant: &Contestant, content: &[u8], length: u64) -> Result<Cost> {
    let digest = repeated_digest(content, length);
    let mut connection = contestant.connect().await?;
    let (before, started) = (contestant.server.cpu_seconds(), Instant::now());
    push_blob(&mut connection, content, length, &digest).await?;
    let wall = started.elapsed().as_secs_f64();
    Ok(Cost { wall, cpu: contestant.server.usage_since(before).cpu_seconds })
}

/// `clients` connections each get `path` whole, all at once.
pub(crate) async fn pull(contestant: &Contestant, path: &str, clients: usize) -> Result<(Cost, u64)> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(contestant.connect().await?);
    }
    let (before, started) = (contestant.server.cpu_seconds(), Instant::now());
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let path = path.to_owned();
        tasks.spawn(async move { connection.drain(&path).await });
    }
    let mut bytes = 0;
    while let Some(read) = tasks.join_next().await {
        bytes += read??;
    }
    let wall = started.elapsed().as_secs_f64();
    Ok((Cost { wall, cpu: contestant.server.usage_since(before).cpu_seconds }, bytes))
}

/// `writers` tasks push images of one 64 KiB layer, a config and a manifest for `time`, other ones in each `round`; gives
/// images pushed.
pub(crate) async fn small_images(
    contestant: &Contestant,
    writers: usize,
    round: usize,
    time: Duration,
) -> Result<(Cost, u64)> {
    let until = Instant::now() + time;
    let (before, started) = (contestant.server.cpu_seconds(), Instant::now());
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let mut connection = contestant.connect().await?;
        tasks.spawn(async move {
            let mut pushed = 0_u64;
            while Instant::now() < until {
                push_image(&mut connection, ((round as u64) << 48) + ((writer as u64) << 32) + pushed + 1)
                    .await?;
                pushed += 1;
            }
            anyhow::Ok(pushed)
        });
    }
    let mut images = 0;
    while let Some(pushed) = tasks.join_next().await {
        images += pushed??;
    }
    let wall = started.elapsed().as_secs_f64();
    Ok((Cost { wall, cpu: contestant.server.usage_since(before).cpu_seconds }, images))
}

/// Length of a small image's layer.
const SMALL_LAYER: usize = 64 << 10;

async fn push_image(connection: &mut Connection, seed: u64) -> Result<()> {
    let layer = content(SMALL_LAYER, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let config = json!({ "architecture": "amd64", "os": "linux", "seed": seed }).to_string();
    let (layer_digest, config_digest) = (Digest::sha256(&layer), Digest::sha256(config.as_bytes()));
    push_blob(connection, &layer, layer.len() as u64, &layer_digest).await?;
    push_blob(connection, config.as_bytes(), config.len() as u64, &config_digest).await?;
    let manifest = manifest(&config_digest, config.len(), &layer_digest, layer.len());
    put_manifest(connection, &format!("v{seed}"), &manifest).await
}

pub(crate) fn manifest(config: &Digest, config_length: usize, layer: &Digest, layer_length: usize) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": config_length
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": layer_length
        }]
    })
    .to_string()
}

pub(crate) async fn put_manifest(connection: &mut Connection, tag: &str, manifest: &str) -> Result<()> {
    let headers = "Content-Type: application/vnd.oci.image.manifest.v1+json\r\n";
    let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
    let (head, body) = connection.request("PUT", &path, headers, manifest.as_bytes()).await?;
    ensure!(head.status == 201, "the manifest answered {}: {}", head.status, String::from_utf8_lossy(&body));
    Ok(())
}

/// `clients` connections ask for the manifest `tag` by `method` again and again for `time`; gives the requests answered.
pub(crate) async fn manifest_reads(
    contestant: &Contestant,
    method: &'static str,
    tag: &str,
    clients: usize,
    time: Duration,
) -> Result<(Cost, u64)> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(contestant.connect().await?);
    }
    let path: Arc<str> = format!("/v2/{REPOSITORY}/manifests/{tag}").into();
    let (before, started) = (contestant.server.cpu_seconds(), Instant::now());
    let until = started + time;
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let path = path.clone();
        tasks.spawn(async move {
            let mut answered = 0_u64;
            let headers = "Accept: application/vnd.oci.image.manifest.v1+json\r\n";
            while Instant::now() < until {
                let (head, _) = connection.request(method, &path, headers, b"").await?;
                ensure!(head.status == 200, "the manifest answered {}", head.status);
                answered += 1;
            }
            Ok(answered)
        });
    }
    let mut requests = 0;
    while let Some(answered) = tasks.join_next().await {
        requests += answered??;
    }
    let wall = started.elapsed().as_secs_f64();
    Ok((Cost { wall, cpu: contestant.server.usage_since(before).cpu_seconds }, requests))
}
