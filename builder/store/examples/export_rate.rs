//! Measures layer export beside libdeflate on one thread, on the same bytes: `cargo run --release -p builder-store
//! --example export_rate -- DIRECTORY`. The directory is read once before, so that the disk does not count.
//!
//! The share of CPU time that is libdeflate's own tells what the export can reach on free cores; wall time tells what
//! it reached on these.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use builder_store::compression::Compression;
use builder_store::layer::{DiffOptions, write_tree};
use builder_store::store::{LayerOptions, write_layer};
use builder_store::tar::TarWriter;
use libdeflater::{CompressionLvl, Compressor};
use rustix::time::{ClockId, clock_gettime};

/// Block of the comparison, the size that the store uses as well.
const BLOCK: usize = 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os().nth(1).ok_or("usage: export_rate DIRECTORY")?;
    let directory = Path::new(&directory);
    let mut writer = TarWriter::new(Vec::new());
    write_tree(directory, DiffOptions::default(), &mut writer)?;
    let archive = writer.finish()?;
    println!("archive: {} MB, {} cores", archive.len() / 1_000_000, LayerOptions::default().threads);
    for level in [1, 3, 6] {
        let alone = measure(|| compress_alone(&archive, level))?;
        println!("gzip {level}: libdeflate alone on one thread {:.0} MB/s", alone.rate(archive.len()));
        for threads in [1, 2, 4] {
            let compression = Compression::gzip(level).ok_or("no such level")?;
            let options = LayerOptions { threads, compression, ..LayerOptions::default() };
            let mut size = 0;
            let export = measure(|| {
                size = write_layer(directory, &[] as &[&Path], &options, io::sink())?.1.size;
                Ok(())
            })?;
            println!(
                "  export, {threads} threads: {:.0} MB/s, {:.2} times libdeflate alone, {:.0} % of its CPU time is \
                 libdeflate's, ratio {:.3}",
                export.rate(archive.len()),
                alone.wall.as_secs_f64() / export.wall.as_secs_f64(),
                100.0 * alone.cpu.as_secs_f64() / export.cpu.as_secs_f64(),
                size as f64 / archive.len() as f64
            );
        }
    }
    Ok(())
}

fn compress_alone(archive: &[u8], level: u8) -> Result<(), Box<dyn Error>> {
    let mut compressor = Compressor::new(CompressionLvl::new(i32::from(level)).map_err(|_| "no such level")?);
    let mut output = vec![0; compressor.gzip_compress_bound(BLOCK)];
    for block in archive.chunks(BLOCK) {
        compressor.gzip_compress(block, &mut output)?;
    }
    Ok(())
}

struct Measured {
    wall: Duration,
    cpu: Duration,
}

impl Measured {
    fn rate(&self, bytes: usize) -> f64 {
        bytes as f64 / 1e6 / self.wall.as_secs_f64()
    }
}

fn measure(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Measured, Box<dyn Error>> {
    let (start, cpu_before) = (Instant::now(), cpu_time());
    work()?;
    Ok(Measured { wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu_before) })
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
