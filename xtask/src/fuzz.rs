//! `cargo xtask fuzz`: builds the targets of `fuzz/` with libFuzzer and coverage counters, which the stable compiler
//! can put in, and runs one after the other. What they reach is kept in the target folder and gone on from; an
//! input that shows a fault is kept beside it and named.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Minutes for each target when none are asked for.
const MINUTES: u64 = 10;

/// What rustc adds for the fuzzer: counters on every edge, and the operands of comparisons.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Longest input, in bytes: no parser here looks further than a few KiB, and short inputs run faster.
const LONGEST_INPUT: &str = "-max_len=4096";
/// Seconds for one input; a parser takes microseconds.
const TIME_OF_AN_INPUT: &str = "-timeout=10";
const MEMORY_MEGABYTES: &str = "-rss_limit_mb=2048";

const USAGE: &str = "usage: cargo xtask fuzz [TARGET...] [--minutes N]";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let seeds = shell::root().join("fuzz/seeds");
    let mut known = Vec::new();
    for entry in fs::read_dir(&seeds).with_context(|| format!("cannot read {}", seeds.display()))? {
        known.push(entry?.file_name().to_string_lossy().into_owned());
    }
    known.sort();
    let (mut targets, mut minutes) = (Vec::new(), MINUTES);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--minutes" {
            minutes = rest.next().and_then(|number| number.parse().ok()).context(USAGE)?;
        } else if known.contains(argument) {
            targets.push(argument.clone());
        } else {
            bail!("there is no target {argument}, only {}\n{USAGE}", known.join(", "));
        }
    }
    if targets.is_empty() {
        targets = known;
    }
    let host = host()?;
    // With a target named, the flags are for it alone and not for build scripts.
    let build = ["build", "--package", "slipway-fuzz", "--profile", "fuzz", "--target", &host];
    shell::run(shell::cargo(&build).env("RUSTFLAGS", FLAGS))?;
    let folder = shell::target_directory(false)?;
    let folder = folder.parent().context("the target folder has no parent")?;
    let binary = folder.join(&host).join("fuzz/slipway-fuzz");
    let findings = folder.join("fuzz-findings");
    fs::create_dir_all(&findings)?;
    for target in &targets {
        let corpus = folder.join("fuzz-corpus").join(target);
        fs::create_dir_all(&corpus)?;
        let mut fuzzer = Command::new(&binary);
        // New inputs go to the first folder.
        fuzzer.env("SLIPWAY_FUZZ_TARGET", target).arg(&corpus).arg(seeds.join(target));
        fuzzer.args([LONGEST_INPUT, TIME_OF_AN_INPUT, MEMORY_MEGABYTES, "-print_final_stats=1"]);
        fuzzer.arg(format!("-max_total_time={}", minutes * 60));
        fuzzer.arg(format!("-artifact_prefix={}/{target}-", findings.display()));
        shell::run(&mut fuzzer).with_context(|| {
            format!(
                "{target} has a fault; its input is in {}, and goes to fuzz/seeds/{target} with the mend",
                findings.display()
            )
        })?;
    }
    Ok(())
}

/// The platform that this compiler runs on.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say its host")
}
