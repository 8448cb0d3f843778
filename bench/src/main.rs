//! `slipway-bench registry`: our registry beside nginx and the distribution registry, on the same files, in one
//! run, in turn. Prints wall time, CPU of the server process, peak memory and ratios; asserts nothing.

mod contest;
mod process;
mod registry;
mod servers;
mod table;
mod wire;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};

const HELP: &str = "\
slipway-bench registry [--smoke] [--json FILE] --binary PATH [--tools FOLDER]

  --smoke         small sizes: shows that the benchmark works, measures nothing
  --json FILE     writes the results as JSON too
  --binary PATH   our binary, built with --release
  --tools FOLDER  folder with the rivals (the program named distribution)";

/// What to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) smoke: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) binary: PathBuf,
    pub(crate) tools: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("slipway-bench: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("slipway-bench: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(registry::run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slipway-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Options> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("registry") => {}
        other => bail!("there is no benchmark {}", other.unwrap_or("of no name")),
    }
    let (mut smoke, mut json, mut binary, mut tools) = (false, None, None, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().map(PathBuf::from).context(format!("{argument} needs a value"));
        match argument.as_str() {
            "--smoke" => smoke = true,
            "--json" => json = Some(value()?),
            "--binary" => binary = Some(value()?),
            "--tools" => tools = Some(value()?),
            _ => bail!("there is no option {argument}"),
        }
    }
    Ok(Options { smoke, json, binary: binary.context("--binary is needed")?, tools })
}
