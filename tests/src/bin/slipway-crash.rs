//! `slipway-crash`: what `cargo xtask crash` runs.

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::{Context, Result, bail};
use slipway_tests::crash::{Options, run, self_test};

const USAGE: &str = "\
usage: slipway-crash --binary PROGRAM [--failpoint-binary PROGRAM] [--rounds N] [--seed N] [--folder FOLDER]
       slipway-crash --binary PROGRAM --self-test";

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway-crash: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<()> {
    let mut binary = None;
    let mut options =
        Options { binary: PathBuf::new(), failpoint_binary: None, rounds: 20, seed: seed(), folder: None };
    let mut test_itself = false;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--binary" => binary = Some(PathBuf::from(value()?)),
            "--failpoint-binary" => options.failpoint_binary = Some(value()?.into()),
            "--rounds" => options.rounds = value()?.parse().context("--rounds needs a number")?,
            "--seed" => options.seed = value()?.parse().context("--seed needs a number")?,
            "--folder" => options.folder = Some(value()?.into()),
            "--self-test" => test_itself = true,
            other => bail!("{other} is unknown\n{USAGE}"),
        }
    }
    options.binary = binary.with_context(|| format!("--binary is missing\n{USAGE}"))?;
    println!("seed {}", options.seed);
    if test_itself {
        for line in self_test(&options)? {
            println!("{line}");
        }
        return Ok(());
    }
    println!("nothing was lost: {}", run(&options)?);
    Ok(())
}

/// A seed of this moment; `--seed` repeats a run, as far as the machine's timing lets it.
fn seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs()
}
