//! A registry that is made to die.

use std::{
    fs,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::http::Server;

/// How long a start may take, whatever a crash left behind.
const START_TIME: Duration = Duration::from_secs(10);

/// A running registry, killed when dropped.
#[derive(Debug)]
pub(super) struct Victim {
    child: Child,
    log: PathBuf,
    server: Server,
}

/// How a start went.
#[derive(Debug)]
pub(super) enum Started {
    Serving(Victim),
    /// It met its failpoint before it listened.
    Died,
}

/// Starts `binary` on `data`; `failpoints` has the form of the fail crate's `FAILPOINTS`.
pub(super) fn start(binary: &Path, data: &Path, failpoints: Option<&str>) -> Result<Started> {
    let log = data.with_extension("log");
    let file = fs::File::create(&log)?;
    let mut command = Command::new(binary);
    command.args(["registry", "serve", "--auth", "none", "--listen", "127.0.0.1:0"]).arg("--data").arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).env_remove("FAILPOINTS");
    command.env("SLIPWAY_LOG", "info,request=warn");
    if let Some(failpoints) = failpoints {
        command.env("FAILPOINTS", failpoints);
    }
    let mut child = command.spawn().with_context(|| format!("cannot start {}", binary.display()))?;
    let until = Instant::now() + START_TIME;
    loop {
        let said = fs::read_to_string(&log).unwrap_or_default();
        if let Some(status) = child.try_wait()? {
            if failpoints.is_some() && died_on_purpose(status) {
                return Ok(Started::Died);
            }
            bail!("the registry does not start on what a crash left, it ended with {status}:\n{said}");
        }
        if let Some(address) = announced(&said) {
            return Ok(Started::Serving(Victim { child, log, server: Server(address) }));
        }
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the registry does not listen within {} seconds of a crash:\n{said}", START_TIME.as_secs());
        }
        sleep(Duration::from_millis(5));
    }
}

/// Starts without failpoints.
pub(super) fn start_whole(binary: &Path, data: &Path) -> Result<Victim> {
    match start(binary, data, None)? {
        Started::Serving(victim) => Ok(victim),
        Started::Died => bail!("the registry died without a failpoint"),
    }
}

/// SIGABRT is how a failpoint ends the process.
fn died_on_purpose(status: ExitStatus) -> bool {
    status.signal() == Some(6)
}

/// `... speaks HTTP on ADDRESS; its data ...`
fn announced(log: &str) -> Option<SocketAddr> {
    let (before, _) = log.split_once("; its data is in")?;
    before.rsplit(' ').next()?.parse().ok()
}

impl Victim {
    pub(super) fn server(&self) -> Server {
        self.server
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub(super) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Whether it met its failpoint. Another end is an error.
    pub(super) fn has_died(&mut self) -> Result<bool> {
        let Some(status) = self.child.try_wait()? else { return Ok(false) };
        ensure!(died_on_purpose(status), "the registry ended with {status}:\n{}", self.log());
        Ok(true)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
