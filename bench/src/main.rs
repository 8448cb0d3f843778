//! `slipway-bench registry`: our registry beside nginx, the distribution registry and others, on the same files, in one
//! run, in turn. Prints wall time, CPU of the server process, memory and ratios; asserts nothing.

mod baseline;
mod certificate;
mod contest;
mod http2;
mod process;
mod registry;
mod servers;
mod table;
mod wire;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use servers::Rival;

const HELP: &str = "\
slipway-bench registry [--smoke] [--rounds N] [--json FILE] [--rival NAME=COMMAND]... --binary PATH [--tools FOLDER]

  --smoke               small sizes: shows that the benchmark works, measures nothing
  --rounds N            how often each discipline is done, in turn; medians count [default: 3, 1 with --smoke]
  --json FILE           writes every value as JSON too
  --rival NAME=COMMAND  another registry: a line for sh that starts it without authentication on 127.0.0.1:{port} and on
                        the empty folder {dir}; may be repeated
  --binary PATH         our binary, built with --release
  --tools FOLDER        folder with the rivals (the program named distribution)";

/// What to run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) smoke: bool,
    pub(crate) rounds: usize,
    pub(crate) json: Option<PathBuf>,
    pub(crate) rivals: Vec<Rival>,
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
    let (mut smoke, mut rounds, mut json, mut binary, mut tools) = (false, None, None, None, None);
    let mut rivals = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().context(format!("{argument} needs a value"));
        match argument.as_str() {
            "--smoke" => smoke = true,
            "--rounds" => rounds = Some(value()?.parse().context("--rounds wants a number")?),
            "--json" => json = Some(value()?.into()),
            "--rival" => rivals.push(value()?.parse()?),
            "--binary" => binary = Some(value()?.into()),
            "--tools" => tools = Some(value()?.into()),
            _ => bail!("there is no option {argument}"),
        }
    }
    let rounds = rounds.unwrap_or(if smoke { 1 } else { 3 });
    Ok(Options { smoke, rounds, json, rivals, binary: binary.context("--binary is needed")?, tools })
}
