//! Running a client and looking at what it said, and ending what runs beside a test. Nothing waits for ever.

use std::{
    io::{Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{scope, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// How long a client may take. The longest here take seconds; two cores may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a child is looked at.
const GLANCE: Duration = Duration::from_millis(5);

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
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (status, stdout, stderr) = scope(|scope| {
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A client that reads nothing closes the pipe; that is its right.
                let _ = stdin.write_all(input);
            }
        });
        let stdout = scope.spawn(move || read(stdout));
        let stderr = scope.spawn(move || read(stderr));
        let status = wait(&mut child, PATIENCE);
        (status, stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default())
    });
    let Some(status) = status? else { bail!("{shown} does not end:\n{stdout}\n{stderr}") };
    Ok(Finished { success: status.success(), code: status.code(), stdout, stderr, shown })
}

fn read(stream: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits for a child, and kills it when it takes longer than `patience`; then there is no status.
fn wait(child: &mut Child, patience: Duration) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        sleep(GLANCE);
    }
}

/// Asks a child to end by SIGTERM, which lets it undo its mounts and stop its own children.
pub(crate) fn terminate(child: &Child) -> Result<()> {
    run(Command::new("kill").arg(child.id().to_string()), b"")?.ok().map(drop)
}

/// Waits for the end that was asked for; one that takes longer than `patience` is an error.
pub(crate) fn wait_for_end(child: &mut Child, patience: Duration) -> Result<ExitStatus> {
    wait(child, patience)?.with_context(|| format!("it does not end within {patience:?}, and was killed"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_hangs_is_killed() -> Result<()> {
        let mut child = Command::new("sleep").arg("60").spawn()?;
        assert!(wait(&mut child, Duration::from_millis(20))?.is_none());
        assert!(child.try_wait()?.is_some());
        Ok(())
    }

    #[test]
    fn output_and_input_pass_whole() -> Result<()> {
        let input = vec![b'x'; 1 << 20];
        let finished = run(&mut Command::new("cat"), &input)?;
        assert_eq!(finished.ok()?.len(), input.len());
        Ok(())
    }
}
