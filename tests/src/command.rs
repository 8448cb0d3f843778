//! Running a client and looking at what it said.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

/// A client that has ended.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    shown: String,
}

/// Runs `command` to its end with `input` on standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Result<Finished> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A client that reads nothing closes the pipe; that is its right.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output()?;
    Ok(Finished {
        success: output.status.success(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        shown,
    })
}

impl Finished {
    /// The output, if the client succeeded.
    pub fn ok(self) -> Result<String> {
        ensure!(self.success, "{} failed ({:?}):\n{}\n{}", self.shown, self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }

    /// Everything it said, if it failed.
    pub fn failed(self) -> Result<String> {
        ensure!(!self.success, "{} succeeded, but should not:\n{}", self.shown, self.stdout);
        Ok(format!("{}\n{}", self.stdout, self.stderr))
    }
}
