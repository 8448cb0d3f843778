//! `cargo xtask crash`: builds the product twice, once with points at which it can be made to die, proves that the
//! crash tool finds what is lost, and runs its rounds.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Rounds when none are asked for.
const ROUNDS: &str = "50";

const USAGE: &str = "usage: cargo xtask crash [--rounds N] [--seed N] [--skip-self-test]";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut rounds, mut seed, mut self_test) = (ROUNDS.to_owned(), None, true);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || {
            let value = rest.next().filter(|value| value.parse::<u64>().is_ok());
            value.cloned().with_context(|| format!("{argument} needs a number\n{USAGE}"))
        };
        match argument.as_str() {
            "--rounds" => rounds = number()?,
            "--seed" => seed = Some(number()?),
            "--skip-self-test" => self_test = false,
            other => bail!("{other} is unknown\n{USAGE}"),
        }
    }
    // First the one with failpoints, and aside: the plain one has the same name, and is the one that others start.
    shell::run(&mut shell::cargo(&["build", "--package", "slipway", "--features", "failpoints"]))?;
    let folder = shell::target_directory(false)?;
    let with_failpoints = folder.join("slipway-failpoints");
    fs::copy(folder.join("slipway"), &with_failpoints)
        .with_context(|| format!("cannot write {}", with_failpoints.display()))?;
    let binary = shell::build_product(false)?;
    shell::run(&mut shell::cargo(&["build", "--package", "slipway-tests", "--bin", "slipway-crash"]))?;
    let tool = || {
        let mut tool = Command::new(folder.join("slipway-crash"));
        tool.arg("--binary").arg(&binary);
        if let Some(seed) = &seed {
            tool.args(["--seed", seed]);
        }
        tool
    };
    if self_test {
        shell::run(tool().arg("--self-test"))?;
    }
    shell::run(tool().arg("--failpoint-binary").arg(&with_failpoints).args(["--rounds", &rounds]))
}
