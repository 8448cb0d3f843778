//! What the machine can do at best: the digest on one core, and a synced write.

use std::{fs, path::Path, process::Command, time::Instant};

use anyhow::{Context, Result, ensure};

use crate::{contest, table::Table};

/// Measures both with `length` bytes of `block`, repeated.
pub(crate) fn measure(table: &mut Table, length: u64, folder: &Path, block: &[u8]) -> Result<()> {
    let (source, target) = (folder.join("source"), folder.join("target"));
    write_repeated(&source, block, length)?;
    let megabytes = length as f64 / 1e6;
    let started = Instant::now();
    contest::repeated_digest(block, length);
    table.add("push, one stream", "sha256 alone", megabytes / started.elapsed().as_secs_f64(), "MB/s");
    let started = Instant::now();
    let copied = Command::new("dd")
        .args(["bs=1M", "conv=fdatasync", "status=none"])
        .arg(format!("if={}", source.display()))
        .arg(format!("of={}", target.display()))
        .status()
        .context("cannot run dd")?;
    ensure!(copied.success(), "dd failed");
    table.add("push, one stream", "dd fdatasync", megabytes / started.elapsed().as_secs_f64(), "MB/s");
    fs::remove_file(&target)?;
    fs::remove_file(&source)?;
    Ok(())
}

/// A file of `block`, repeated to `length` bytes.
pub(crate) fn write_repeated(path: &Path, block: &[u8], length: u64) -> Result<()> {
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
