//! The registry benchmark: which disciplines, at which sizes, in which order.

use std::{path::Path, time::Duration};

use anyhow::Result;
use registry_types::Digest;

use crate::{
    Options, baseline,
    contest::{self, Fill, Load, Protocol, content},
    servers::{Contestant, Contestants, REPOSITORY, open_registries},
    table::Table,
};

/// How long filling a list may take; a registry that needs longer has no row.
const FILL_TIME: Duration = Duration::from_secs(300);

/// Sizes of a run.
struct Sizes {
    blob: u64,
    time: Duration,
    /// Slow pulls and pushes at once: as many of both, and as a busy day has them.
    slow: &'static [(usize, usize)],
    slow_blob: u64,
    listed: u64,
}

impl Sizes {
    fn of(smoke: bool) -> Self {
        if smoke {
            Self {
                blob: 8 << 20,
                time: Duration::from_millis(500),
                slow: &[(8, 2)],
                slow_blob: 4 << 20,
                listed: 200,
            }
        } else {
            Self {
                blob: 1 << 30,
                time: Duration::from_secs(5),
                slow: &[(128, 128), (128, 32)],
                slow_blob: 256 << 20,
                listed: 100_000,
            }
        }
    }
}

pub(crate) async fn run(options: &Options) -> Result<()> {
    let sizes = Sizes::of(options.smoke);
    // On the disk of the working folder: /tmp may be memory.
    let place = tempfile::Builder::new().prefix("slipway-bench-").tempdir_in(".")?;
    let folder = place.path().canonicalize()?;
    let mut table = Table::default();
    let all = Contestants::start(options, &folder).await?;
    for rival in ["distribution", "nginx"].into_iter().filter(|name| !all.has(name)) {
        println!("{rival} is not installed: rows without it");
    }
    for contestant in &all.plain {
        table.add("idle memory", &contestant.name, contestant.idle, "MiB");
    }
    let block = content(1 << 20, 42);
    let digest = prepare(&sizes, &all, &folder, &block).await?;
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        push(&mut table, &sizes, &all.plain, &block, round).await?;
        baseline::measure(&mut table, sizes.blob, &folder, &block)?;
        small(&mut table, &sizes, &all.plain, round).await?;
        manifests(&mut table, &sizes, &all.plain).await?;
        let files = all.files.as_ref();
        let blob = format!("/v2/{REPOSITORY}/blobs/{digest}");
        pull(&mut table, "pull", &all.plain, files.map(|(plain, _)| plain), &blob).await?;
        pull(&mut table, "pull over TLS", &all.secure, files.map(|(_, secure)| secure), &blob).await?;
        memory(&mut table, &sizes, options, &folder).await?;
    }
    drop(all);
    lists(&mut table, &sizes, options, &folder).await?;
    println!("\n{}", table.markdown());
    if let Some(file) = &options.json {
        table.write_json(file)?;
    }
    Ok(())
}

/// Brings the blob that is pulled to everyone, and a manifest that is read.
async fn prepare(sizes: &Sizes, all: &Contestants, folder: &Path, block: &[u8]) -> Result<Digest> {
    let digest = contest::repeated_digest(block, sizes.blob);
    for contestant in &all.plain {
        let mut connection = contestant.connect().await?;
        contest::push_blob(&mut connection, block, sizes.blob, &digest).await?;
        let (config, layer) = (b"{}".as_slice(), content(1024, 5));
        let (config_digest, layer_digest) = (Digest::sha256(config), Digest::sha256(&layer));
        contest::push_blob(&mut connection, config, config.len() as u64, &config_digest).await?;
        contest::push_blob(&mut connection, &layer, layer.len() as u64, &layer_digest).await?;
        let manifest = contest::manifest(&config_digest, config.len(), &layer_digest, layer.len());
        contest::put_manifest(&mut connection, "read", &manifest).await?;
    }
    baseline::write_repeated(&folder.join("www/blob"), block, sizes.blob)?;
    Ok(digest)
}

async fn push(
    table: &mut Table,
    sizes: &Sizes,
    registries: &[Contestant],
    block: &[u8],
    round: usize,
) -> Result<()> {
    // Other content each time: a blob that is there already would not be written.
    let mut block = block.to_vec();
    block.rotate_left(round);
    for contestant in registries {
        let cost = contest::push(contestant, &block, sizes.blob).await?;
        let bytes = sizes.blob as f64;
        table.add("push, one stream", &contestant.name, bytes / 1e6 / cost.wall, "MB/s");
        table.add("push, one stream, server CPU", &contestant.name, cost.cpu / (bytes / 1e9), "CPU-s/GB");
    }
    Ok(())
}

async fn small(table: &mut Table, sizes: &Sizes, registries: &[Contestant], round: usize) -> Result<()> {
    const WRITERS: usize = 16;
    for contestant in registries {
        let (cost, images) = contest::small_images(contestant, WRITERS, round, sizes.time).await?;
        let (speed, work) = (images as f64 / cost.wall, cost.cpu * 1e3 / images.max(1) as f64);
        table.add("small images, 16 writers", &contestant.name, speed, "images/s");
        table.add("small images, server CPU", &contestant.name, work, "CPU-ms/image");
    }
    Ok(())
}

async fn manifests(table: &mut Table, sizes: &Sizes, registries: &[Contestant]) -> Result<()> {
    const CLIENTS: usize = 64;
    for method in ["GET", "HEAD"] {
        for contestant in registries {
            let (cost, requests) =
                contest::manifest_reads(contestant, method, "read", CLIENTS, sizes.time).await?;
            let requests = requests as f64;
            let what = format!("manifest {method}, {CLIENTS} connections");
            table.add(&what, &contestant.name, requests / cost.cpu.max(f64::EPSILON), "requests/CPU-s");
            table.add(format!("{what}, wall"), &contestant.name, requests / cost.wall, "requests/s");
        }
    }
    Ok(())
}

/// Everyone pulls `blob` from the registries, and the same bytes from the file server.
async fn pull(
    table: &mut Table,
    what: &str,
    registries: &[Contestant],
    files: Option<&Contestant>,
    blob: &str,
) -> Result<()> {
    let registries = registries.iter().map(|contestant| (contestant, blob));
    let contestants: Vec<_> = registries.chain(files.map(|contestant| (contestant, "/blob"))).collect();
    for clients in [1, 8, 64] {
        for (contestant, path) in &contestants {
            let (cost, bytes) = contest::pull(contestant, path, clients).await?;
            let gigabytes = bytes as f64 / 1e9;
            let what = format!("{what}, {clients} {}", if clients == 1 { "client" } else { "clients" });
            table.add(format!("{what}, server CPU"), &contestant.name, cost.cpu / gigabytes, "CPU-s/GB");
            table.add(what, &contestant.name, gigabytes / cost.wall, "GB/s");
        }
    }
    Ok(())
}

/// Each way and each load meets servers that have done nothing yet: allocators seldom give back what a load before
/// this one took.
async fn memory(table: &mut Table, sizes: &Sizes, options: &Options, folder: &Path) -> Result<()> {
    let block = content(1 << 20, 42);
    let digest = contest::repeated_digest(&block, sizes.slow_blob);
    let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
    for way in ["HTTP/1.1", "TLS", "HTTP/2 on TLS"] {
        for &(pulls, pushes) in sizes.slow {
            // Gone with what was pushed, which is much.
            let place = tempfile::tempdir_in(folder)?;
            let all = Contestants::start(options, place.path()).await?;
            for contestant in &all.plain {
                contest::push_blob(&mut contestant.connect().await?, &block, sizes.slow_blob, &digest)
                    .await?;
            }
            let load = Load { pulls, pushes, length: sizes.slow_blob, time: sizes.time };
            let (contestants, protocol) = match way {
                "HTTP/1.1" => (&all.plain, Protocol::Http1),
                "TLS" => (&all.secure, Protocol::Http1),
                _ => (&all.secure, Protocol::Http2),
            };
            for contestant in contestants {
                let highest = contest::memory(contestant, protocol, &path, load).await?;
                let what = format!("memory, {pulls} slow pulls + {pushes} pushes, {way}");
                table.add(format!("{what}, above idle"), &contestant.name, highest - contestant.idle, "MiB");
                table.add(what, &contestant.name, highest, "MiB");
            }
        }
    }
    Ok(())
}

async fn lists(table: &mut Table, sizes: &Sizes, options: &Options, folder: &Path) -> Result<()> {
    let registries = open_registries(options, folder)?;
    for (list, name) in [(Fill::Tags, "tags"), (Fill::Repositories, "repositories")] {
        for contestant in &registries {
            let made = contest::fill(contestant, list, sizes.listed, FILL_TIME).await;
            match made {
                Ok(made) if made == sizes.listed => {}
                Ok(made) => {
                    println!("  {} made only {made} {name} in {FILL_TIME:?}: no row", contestant.name);
                    continue;
                }
                Err(error) => {
                    println!("  {} cannot be filled with {name}: {error:#}", contestant.name);
                    continue;
                }
            }
            for _ in 0..options.rounds {
                let time = contest::first_page(contestant, list).await?;
                table.add(format!("first page of {} {name}", sizes.listed), &contestant.name, time, "ms");
            }
        }
    }
    Ok(())
}
