//! Measures the metadata store: images pushed per second by concurrent writers (two blobs linked, one manifest
//! put, every call synced before it answers), and manifest reads per CPU second, from the cache and past it.
//!
//! `cargo run --release -p registry-metadata --example metadata_rates [FOLDER]`

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use registry_metadata::{ManifestMetadata, SqliteMetadata, SqliteOptions, suite::samples};
use registry_types::Reference;
use tokio::task::JoinSet;

const WRITERS: usize = 16;
const WRITING: Duration = Duration::from_secs(5);
const CACHED_READS: u32 = 2_000_000;
const UNCACHED_READS: u32 = 50_000;

#[tokio::main]
async fn main() {
    let parent = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    let folder = tempfile::tempdir_in(parent).expect("a folder can be made there");
    let path = folder.path().join("metadata.db");
    let store = SqliteMetadata::open(&path).expect("a database can be made there");
    writes(&store).await;
    reads("cached", &store, CACHED_READS).await;
    store.close().await;
    let options = SqliteOptions { manifest_cache_bytes: 0, ..SqliteOptions::default() };
    let store = SqliteMetadata::open_with(&path, options).expect("the database opens again");
    reads("uncached", &store, UNCACHED_READS).await;
    store.close().await;
}

async fn writes(store: &SqliteMetadata) {
    let start = (Instant::now(), cpu_time());
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            let here = samples::repository(&format!("team/app{writer}"));
            let mut pushed = 0_u32;
            let start = Instant::now();
            while start.elapsed() < WRITING {
                let name = format!("{writer}-{pushed}");
                samples::pushed_image(&store, &here, &name, &["latest", &name]).await;
                pushed += 1;
            }
            pushed
        });
    }
    let images: u32 = tasks.join_all().await.into_iter().sum();
    report("pushed images", images, start);
}

async fn reads(what: &str, store: &SqliteMetadata, count: u32) {
    let here = samples::repository("team/app0");
    let reference = Reference::from(samples::tag("latest"));
    let start = (Instant::now(), cpu_time());
    for _ in 0..count {
        let found = store.manifest(&here, &reference).await.expect("the store answers");
        assert!(found.is_some());
    }
    report(&format!("{what} manifest reads"), count, start);
}

fn report(what: &str, count: u32, (wall, cpu): (Instant, Duration)) {
    let wall = wall.elapsed().as_secs_f64();
    let cpu = cpu_time().saturating_sub(cpu).as_secs_f64();
    let count = f64::from(count);
    println!(
        "{what:24} {:>10.0} /s {:>10.0} /CPU-s {:>9.2} us each",
        count / wall,
        count / cpu,
        wall / count * 1e6
    );
}

/// User and system time of this process: fields 14 and 15 of its stat line, in ticks of 10 ms (proc(5)).
fn cpu_time() -> Duration {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = line.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}
