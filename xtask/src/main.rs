//! `cargo xtask VERB`: everything that CI and a newcomer run. Each verb is one module; this file is their list.

mod arrows;
mod bench;
mod check;
mod conformance;
mod crash;
mod fixtures;
mod fuzz;
mod shell;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask VERB

  check                       format, lints, crate arrows, documentation
  test                        installs what the tests need, then check, all tests, conformance, a short crash
                              run, the benchmarks at smoke size and the demo
  test --quick                the tests of the workspace only
  conformance [--release] [--engine postgres-s3 [--replicas N]]
                              the official distribution suite (1.1 and dev) and our own checks on our registry
  crash [--rounds N]          kills the server at random moments and looks for what was lost
  bench NAME [--smoke]        a benchmark beside its rivals: registry; docs/benchmarks.md has its options
  fuzz [TARGET] [--minutes N] fuzzes the parsers that meet the network, ten minutes each
  fixtures                    installs the helper programs and Debian packages that the tests use

Installing needs root and apt for Debian packages, and Go for the rest; what cannot be installed is named and
skipped. With CI=true a skip is a failure.";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = match arguments.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", &[][..]),
    };
    match verb {
        "check" => check::run(),
        "test" => test::run(rest),
        "conformance" => conformance::run(rest),
        "crash" => crash::run(rest),
        "bench" => bench::run(rest),
        "fuzz" => fuzz::run(rest),
        "fixtures" => fixtures::install_all().map(|_| ()),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        other => bail!("there is no verb {other}\n\n{HELP}"),
    }
}
