//! `cargo xtask bench NAME`: builds the product and the benchmark, and runs it beside its rivals.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{fixtures, shell};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) if name == "registry" => (name, rest),
        _ => bail!(
            "usage: cargo xtask bench registry [--smoke] [--rounds N] [--json FILE] [--rival NAME=COMMAND]..."
        ),
    };
    // Smoke only shows that the benchmark works; an optimised build would cost CI minutes for nothing.
    let release = !rest.iter().any(|argument| argument == "--smoke");
    let binary = shell::build_product(release)?;
    let mut build = shell::cargo(&["build", "--package", "slipway-bench"]);
    if release {
        build.arg("--release");
    }
    shell::run(&mut build)?;
    let mut bench = Command::new(shell::target_directory(release)?.join("slipway-bench"));
    bench.arg(name).args(rest).arg("--binary").arg(binary).arg("--tools").arg(fixtures::tools()?);
    shell::run(bench.current_dir(shell::root()))
}
