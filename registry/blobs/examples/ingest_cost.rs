//! What storing a blob costs: MB per second and CPU seconds per GB of one stream, synced, beside hashing the
//! same bytes on one core and writing and syncing them with nothing else; then many small blobs at once.
//!
//! `cargo run --release -p registry-blobs --example ingest_cost [MIB]`, in a folder of the disk to measure.

use std::{env, error::Error, fs::File, io::Write, time::Duration, time::Instant};

use bytes::Bytes;
use registry_blobs::{BlobStore, BlobWriter, LocalBlobs};
use registry_types::{Algorithm, BlobLocation, Digest, DigestHasher, UploadId, UploadProgress};

/// What hyper hands over at once from a fast client, in bytes.
const FRAME: usize = 64 << 10;

/// Small blobs per writer, their length, and the writers at once.
const SMALL: (u32, usize, u32) = (40, 64 << 10, 16);

fn main() -> Result<(), Box<dyn Error>> {
    let mebibytes: usize = env::args().nth(1).map_or(Ok(1024), |text| text.parse())?;
    let frame: Vec<u8> =
        (0..FRAME as u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let frames = mebibytes * ((1 << 20) / FRAME);
    let folder = env::current_dir()?.join(format!("ingest-cost-{}", std::process::id()));
    std::fs::create_dir(&folder)?;

    let (cpu, start) = (cpu_seconds(), Instant::now());
    let mut hasher = DigestHasher::new(Algorithm::Sha256);
    for _ in 0..frames {
        hasher.update(&frame);
    }
    let digest = hasher.finish();
    report("sha256 alone", frames * FRAME, start.elapsed(), cpu_seconds() - cpu);

    let (cpu, start) = (cpu_seconds(), Instant::now());
    let mut file = File::create(folder.join("plain"))?;
    for _ in 0..frames {
        file.write_all(&frame)?;
    }
    file.sync_data()?;
    report("write, sync", frames * FRAME, start.elapsed(), cpu_seconds() - cpu);
    std::fs::remove_file(folder.join("plain"))?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let store = LocalBlobs::in_directory(folder.clone()).await?;
        for round in 0..3 {
            let (cpu, start) = (cpu_seconds(), Instant::now());
            let mut writer = store.resume(UploadId::random(), 1, &fresh()).await?;
            for _ in 0..frames {
                // A frame of a socket is a buffer of its own.
                writer.write(Bytes::copy_from_slice(&frame)).await?;
            }
            let written = start.elapsed();
            writer.commit(&digest).await?;
            report(&format!("one blob ({round})"), frames * FRAME, start.elapsed(), cpu_seconds() - cpu);
            println!(
                "    of which the commit: {:.0} ms",
                start.elapsed().saturating_sub(written).as_secs_f64() * 1e3
            );
            store.remove(&digest, &BlobLocation::ByDigest).await?;
        }
        small_blobs(&store).await
    })?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

async fn small_blobs(store: &LocalBlobs) -> Result<(), Box<dyn Error>> {
    let (each, length, writers) = SMALL;
    let (cpu, start) = (cpu_seconds(), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            for number in 0..each {
                let mut bytes = vec![0; length];
                bytes[..8].copy_from_slice(&[writer.to_le_bytes(), number.to_le_bytes()].concat());
                let digest = Digest::sha256(&bytes);
                let mut session = store.resume(UploadId::random(), 1, &fresh()).await?;
                session.write(bytes.into()).await?;
                session.commit(&digest).await?;
            }
            Ok::<_, registry_blobs::BlobError>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let (wall, cpu) = (start.elapsed(), cpu_seconds() - cpu);
    let blobs = each * writers;
    println!(
        "{blobs} blobs of {length} bytes, {writers} at once: {:.0} blobs/s, {:.3} ms of CPU each",
        f64::from(blobs) / wall.as_secs_f64(),
        cpu * 1e3 / f64::from(blobs),
    );
    Ok(())
}

fn fresh() -> UploadProgress {
    DigestHasher::new(Algorithm::Sha256).save().into()
}

fn report(what: &str, bytes: usize, wall: Duration, cpu: f64) {
    let gigabytes = bytes as f64 / 1e9;
    println!(
        "{what:<14} {:>7.0} MB/s {:>7.3} CPU s/GB",
        gigabytes * 1e3 / wall.as_secs_f64(),
        cpu / gigabytes
    );
}

/// CPU time of this process.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
