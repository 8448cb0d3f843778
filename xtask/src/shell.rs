//! Running programs: shown before they start, failing loudly.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Whether this run is CI's: there a skipped test is a failure.
pub(crate) fn in_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// A cargo command in the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command with its output shown; a failure is an error that names the command.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("\n==> {shown}");
    let started = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    println!("<== {:.1} s", started.elapsed().as_secs_f64());
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

/// Runs a command quietly; true if it started and succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The profile folder that `cargo build` writes to.
pub(crate) fn target_directory(release: bool) -> Result<PathBuf> {
    let output =
        cargo(&["metadata", "--format-version", "1", "--no-deps"]).output().context("cannot ask cargo")?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(if release { "release" } else { "debug" }))
}

/// Builds the product and gives its path.
pub(crate) fn build_product(release: bool) -> Result<PathBuf> {
    let mut arguments = vec!["build", "--package", "slipway"];
    if release {
        arguments.push("--release");
    }
    run(&mut cargo(&arguments))?;
    Ok(target_directory(release)?.join("slipway"))
}
