//! Runs one step described as JSON on standard input, the way the builder does, for tests and for trying things out.
//!
//! `builder-runtime-step run [1|2]`: enters the builder namespace, runs the step in that tier or in the one the probe
//! picks, writes its output through and exits with its code, or with 125 and a message when it did not run.
//! `builder-runtime-step probe DIRECTORY`: prints the tier and the reason.
//! `builder-runtime-step ids`: prints the ids of the builder namespace.
//! `builder-runtime-step list`: JSON on standard input is a list of layers; lists their merged view and its mount.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use builder_runtime::{
    MergedView, OutputLine, OutputStream, RuntimeError, StepSpec, StepStatus, Tier, enter_builder_namespace,
    maybe_run_init, probe_blocking, run_blocking,
};

/// What `docker run` exits with when the program itself failed.
const NOT_RUN: u8 = 125;

fn main() -> ExitCode {
    maybe_run_init();
    match act() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn act() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let namespace = enter_builder_namespace()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", tier @ ..] => {
            let spec: StepSpec = serde_json::from_reader(io::stdin())?;
            let tier = match tier {
                ["1"] => Tier::FreshProc,
                ["2"] => Tier::OuterProc,
                _ => probe_blocking(spec.root.upper.parent().unwrap_or(Path::new("/")))?.tier,
            };
            run_step(spec, tier)
        }
        ["probe", directory] => {
            let probe = probe_blocking(Path::new(directory))?;
            println!("{}", probe.reason);
            probe.notes.iter().for_each(|note| println!("note: {note}"));
            Ok(ExitCode::SUCCESS)
        }
        ["ids"] => {
            println!("{:?}: {}", namespace.privilege, namespace.id_map);
            Ok(ExitCode::SUCCESS)
        }
        ["list", storage] => {
            let layers: Vec<PathBuf> = serde_json::from_reader(io::stdin())?;
            list_merged(&layers, Path::new(storage))
        }
        _ => Err("usage: builder-runtime-step run [1|2] | probe DIRECTORY | ids | list DIRECTORY".into()),
    }
}

fn run_step(spec: StepSpec, tier: Tier) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let mut write = |line: OutputLine| {
        let end: &[u8] = if line.ended { b"\n" } else { b"" };
        let text = [&line.bytes, end].concat();
        // A reader that is gone is no reason to end the step.
        let _ = match line.stream {
            OutputStream::Stdout => io::stdout().write_all(&text).and_then(|()| io::stdout().flush()),
            OutputStream::Stderr => io::stderr().write_all(&text),
        };
    };
    match run_blocking(spec, tier, None, &mut write) {
        Ok(StepStatus::Exited(code)) => Ok(ExitCode::from(code as u8)),
        Ok(StepStatus::Signalled(signal)) => Ok(ExitCode::from(128_u8.wrapping_add(signal as u8))),
        Err(error @ RuntimeError::NotStarted { exit_code, .. }) => {
            eprintln!("error: {error}");
            Ok(ExitCode::from(exit_code as u8))
        }
        Err(error) => Err(error.into()),
    }
}

fn list_merged(layers: &[PathBuf], storage: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let view = MergedView::mount(layers, storage)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(view.path())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    println!("{}", names.join(" "));
    let written = std::fs::write(view.path().join("new"), "");
    println!("writing: {}", if written.is_err() { "refused" } else { "allowed" });
    let path = view.path().to_owned();
    drop(view);
    let gone = !std::fs::read_to_string("/proc/self/mountinfo")?.contains(&*path.to_string_lossy());
    println!("after drop: {}", if gone && !path.exists() { "gone" } else { "still there" });
    Ok(ExitCode::SUCCESS)
}
