//! The whole proof, as CI runs it.

use anyhow::{Result, bail};

use crate::{bench, check, conformance, crash, fixtures, shell};

/// Rounds of the crash run in CI: enough to meet each point of the commit order a few times.
const CRASH_ROUNDS: &str = "15";

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let quick = match arguments {
        [] => false,
        [flag] if flag == "--quick" => true,
        _ => bail!("usage: cargo xtask test [--quick]"),
    };
    if quick {
        return workspace_tests();
    }
    let missing = fixtures::install_all()?;
    if shell::in_ci() && !missing.is_empty() {
        bail!("in CI everything must be there, but: {}", missing.join("; "));
    }
    check::run()?;
    workspace_tests()?;
    conformance::run(&[])?;
    conformance::run(&["--engine", "postgres-s3", "--replicas", "3"].map(str::to_owned))?;
    crash::run(&["--rounds".to_owned(), CRASH_ROUNDS.to_owned()])?;
    bench::run(&["registry".to_owned(), "--smoke".to_owned()])?;
    let product = shell::build_product(false)?;
    shell::run(std::process::Command::new(product).arg("demo"))?;
    println!("\nall of it passed");
    Ok(())
}

fn workspace_tests() -> Result<()> {
    // The whole-product tests start the binary; cargo builds it for them only when asked.
    let product = shell::build_product(false)?;
    let mut tests = shell::cargo(&["test", "--workspace", "--all-features", "--no-fail-fast"]);
    let tools = fixtures::tools()?;
    tests.env("SLIPWAY_BINARY", product).env("SLIPWAY_CONTAINERD2", fixtures::containerd::folder(&tools));
    shell::run(tests.env("SLIPWAY_TOOLS", tools))
}
