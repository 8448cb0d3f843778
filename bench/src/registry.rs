//! The registry benchmark: which disciplines, at which sizes, in which order.

use std::{fs, path::Path, process::Command, time::Duration, time::Instant};

use anyhow::{Context, Result, ensure};
use registry_types::Digest;

use crate::{
    Options,
    contest::{self, content},
    servers::{self, Contestant, REPOSITORY},
    table::{Table, median},
};

const GIB: f64 = (1_u64 << 30) as f64;

/// Sizes of a run.
struct Sizes {
    blob: u64,
    /// Each discipline is done this often, in turn between the contestants; the median counts.
    repeats: usize,
    time: Duration,
    slow: (usize, usize),
    slow_blob: u64,
}

impl Sizes {
    fn of(smoke: bool) -> Self {
        if smoke {
            Self {
                blob: 8 << 20,
                repeats: 1,
                time: Duration::from_millis(500),
                slow: (8, 8),
                slow_blob: 4 << 20,
            }
        } else {
            Self {
                blob: 1 << 30,
                repeats: 3,
                time: Duration::from_secs(5),
                slow: (128, 128),
                slow_blob: 256 << 20,
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

    let ours = servers::ours(options, &folder).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    table.add("idle memory", ours.name, ours.server.memory_mib(), "MiB");
    let mut registries = vec![ours];
    match servers::distribution(options, &folder)? {
        Some(rival) => registries.push(rival),
        None => println!("the distribution registry is not installed: rows without it"),
    }

    let block = content(1 << 20, 42);
    push(&mut table, &sizes, &registries, &block).await?;
    baselines(&mut table, &sizes, &folder, &block)?;
    small(&mut table, &sizes, &registries).await?;
    manifests(&mut table, &sizes, &registries).await?;
    pull(&mut table, &sizes, &registries, &folder, &block).await?;
    memory(&mut table, &sizes, &registries).await?;

    table.print_ratios();
    if let Some(file) = &options.json {
        table.write_json(file)?;
    }
    Ok(())
}

async fn push(table: &mut Table, sizes: &Sizes, registries: &[Contestant], block: &[u8]) -> Result<()> {
    let mut walls = vec![Vec::new(); registries.len()];
    let mut cpus = vec![Vec::new(); registries.len()];
    for repeat in 0..sizes.repeats {
        for ((contestant, walls), cpus) in registries.iter().zip(&mut walls).zip(&mut cpus) {
            // Other content each time: a blob that is there already would not be written.
            let mut block = block.to_vec();
            block.rotate_left(repeat + 1);
            let cost = contest::push(contestant, &block, sizes.blob).await?;
            walls.push(sizes.blob as f64 / 1e6 / cost.wall);
            cpus.push(cost.cpu / (sizes.blob as f64 / 1e9));
        }
    }
    for ((contestant, walls), cpus) in registries.iter().zip(walls).zip(cpus) {
        table.add("push, one stream", contestant.name, median(walls), "MB/s");
        table.add("push, one stream, server CPU", contestant.name, median(cpus), "CPU-s/GB");
    }
    Ok(())
}

/// What the machine can do: the digest on one core, and a synced write.
fn baselines(table: &mut Table, sizes: &Sizes, folder: &Path, block: &[u8]) -> Result<()> {
    let (mut hashing, mut writing) = (Vec::new(), Vec::new());
    let source = folder.join("source");
    let target = folder.join("target");
    write_repeated(&source, block, sizes.blob)?;
    for _ in 0..sizes.repeats {
        let started = Instant::now();
        contest::repeated_digest(block, sizes.blob);
        hashing.push(sizes.blob as f64 / 1e6 / started.elapsed().as_secs_f64());
        let started = Instant::now();
        let copied = Command::new("dd")
            .args(["bs=1M", "conv=fdatasync", "status=none"])
            .arg(format!("if={}", source.display()))
            .arg(format!("of={}", target.display()))
            .status()
            .context("cannot run dd")?;
        ensure!(copied.success(), "dd failed");
        writing.push(sizes.blob as f64 / 1e6 / started.elapsed().as_secs_f64());
        fs::remove_file(&target)?;
    }
    fs::remove_file(&source)?;
    table.add("push, one stream", "sha256 alone", median(hashing), "MB/s");
    table.add("push, one stream", "dd fdatasync", median(writing), "MB/s");
    Ok(())
}

fn write_repeated(path: &Path, block: &[u8], length: u64) -> Result<()> {
    let mut file = std::io::BufWriter::new(fs::File::create(path)?);
    let mut left = length as usize;
    while left > 0 {
        let part = block.get(..block.len().min(left)).unwrap_or(block);
        std::io::Write::write_all(&mut file, part)?;
        left -= part.len();
    }
    std::io::Write::flush(&mut file)?;
    Ok(())
}

async fn small(table: &mut Table, sizes: &Sizes, registries: &[Contestant]) -> Result<()> {
    const WRITERS: usize = 16;
    for contestant in registries {
        let (cost, images) = contest::small_images(contestant, WRITERS, sizes.time).await?;
        table.add("small images, 16 writers", contestant.name, images as f64 / cost.wall, "images/s");
        table.add(
            "small images, server CPU",
            contestant.name,
            cost.cpu * 1e3 / images.max(1) as f64,
            "CPU-ms/image",
        );
    }
    Ok(())
}

async fn manifests(table: &mut Table, sizes: &Sizes, registries: &[Contestant]) -> Result<()> {
    const CLIENTS: usize = 64;
    for contestant in registries {
        let mut connection = contestant.connect().await?;
        let (config, layer) = (b"{}".as_slice(), content(1024, 5));
        let (config_digest, layer_digest) = (Digest::sha256(config), Digest::sha256(&layer));
        contest::push_blob(&mut connection, config, config.len() as u64, &config_digest).await?;
        contest::push_blob(&mut connection, &layer, layer.len() as u64, &layer_digest).await?;
        let manifest = contest::manifest(&config_digest, config.len(), &layer_digest, layer.len());
        contest::put_manifest(&mut connection, "read", &manifest).await?;
        let (cost, requests) = contest::manifest_reads(contestant, "read", CLIENTS, sizes.time).await?;
        let per_cpu = requests as f64 / cost.cpu.max(f64::EPSILON);
        table.add("manifest GET, 64 connections", contestant.name, per_cpu, "requests/CPU-s");
        table.add("manifest GET, wall", contestant.name, requests as f64 / cost.wall, "requests/s");
    }
    Ok(())
}

async fn pull(
    table: &mut Table,
    sizes: &Sizes,
    registries: &[Contestant],
    folder: &Path,
    block: &[u8],
) -> Result<()> {
    let digest = contest::repeated_digest(block, sizes.blob);
    for contestant in registries {
        contest::push_blob(&mut contestant.connect().await?, block, sizes.blob, &digest).await?;
    }
    let root = folder.join("www");
    fs::create_dir_all(&root)?;
    write_repeated(&root.join("blob"), block, sizes.blob)?;
    let nginx = servers::nginx(folder, &root)?;
    let blob = format!("/v2/{REPOSITORY}/blobs/{digest}");
    let contestants: Vec<(&Contestant, &str)> = registries
        .iter()
        .map(|contestant| (contestant, blob.as_str()))
        .chain(nginx.iter().map(|contestant| (contestant, "/blob")))
        .collect();
    for clients in [1, 8, 64] {
        // 64 clients times 1 GiB would take minutes and tell nothing more.
        let rounds = if clients == 64 { 1 } else { sizes.repeats };
        let mut cpus = vec![Vec::new(); contestants.len()];
        let mut speeds = vec![Vec::new(); contestants.len()];
        for _ in 0..rounds {
            for (((contestant, path), cpus), speeds) in contestants.iter().zip(&mut cpus).zip(&mut speeds) {
                let (cost, bytes) = contest::pull(contestant, path, clients).await?;
                cpus.push(cost.cpu / (bytes as f64 / 1e9));
                speeds.push(bytes as f64 / 1e9 / cost.wall);
            }
        }
        for (((contestant, _), cpus), speeds) in contestants.iter().zip(cpus).zip(speeds) {
            table.add(
                format!("pull, {clients} clients, server CPU"),
                contestant.name,
                median(cpus),
                "CPU-s/GB",
            );
            table.add(format!("pull, {clients} clients"), contestant.name, median(speeds), "GB/s");
        }
    }
    println!("  (blob of {:.2} GiB)", sizes.blob as f64 / GIB);
    Ok(())
}

async fn memory(table: &mut Table, sizes: &Sizes, registries: &[Contestant]) -> Result<()> {
    for contestant in registries {
        let block = content(1 << 20, 99);
        let digest = contest::repeated_digest(&block, sizes.slow_blob);
        contest::push_blob(&mut contestant.connect().await?, &block, sizes.slow_blob, &digest).await?;
        let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
        let before = contestant.server.memory_mib();
        let highest = contest::memory(contestant, &path, sizes.slow, sizes.slow_blob, sizes.time).await?;
        let what = format!("memory, {} slow pulls and {} pushes", sizes.slow.0, sizes.slow.1);
        table.add(what, contestant.name, highest, "MiB");
        table.add("memory above before", contestant.name, highest - before, "MiB");
    }
    Ok(())
}
