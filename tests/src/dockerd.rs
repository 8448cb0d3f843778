//! A Docker daemon of our own: it shares nothing with one that may run on the machine.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{
    Finished,
    command::{terminate, wait_for_end},
    is_root, program, run, skip,
};

const START_TIME: Duration = Duration::from_secs(60);
const STOP_TIME: Duration = Duration::from_secs(30);

/// A running daemon and a client configuration that only it uses.
#[derive(Debug)]
pub struct Dockerd {
    child: Child,
    folder: TempDir,
}

impl Dockerd {
    /// `None`, with the reason told, where Docker cannot run. `arguments` go to the daemon, which reads the
    /// hosts file seldom: names come first.
    pub fn start(arguments: &[&str]) -> Result<Option<Self>> {
        let Some(daemon) = program("/usr/sbin/dockerd").filter(|_| is_root()) else {
            skip("dockerd needs docker.io and root");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("slipway-docker-").tempdir()?;
        let log = fs::File::create(folder.path().join("log"))?;
        let child = Command::new(daemon)
            .arg("--data-root")
            .arg(folder.path().join("data"))
            .arg("--exec-root")
            .arg(folder.path().join("exec"))
            .arg("--pidfile")
            .arg(folder.path().join("pid"))
            .arg("-H")
            .arg(format!("unix://{}/socket", folder.path().display()))
            // Without networks of its own it leaves the machine's packet filter alone.
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd")?;
        let mut dockerd = Self { child, folder };
        let until = Instant::now() + START_TIME;
        while !dockerd.docker(&["version"]).is_ok_and(|finished| finished.success) {
            let log = || fs::read_to_string(dockerd.folder.path().join("log")).unwrap_or_default();
            if let Some(status) = dockerd.child.try_wait()? {
                bail!("dockerd ended with {status}:\n{}", log());
            }
            if Instant::now() > until {
                bail!("dockerd does not answer:\n{}", log());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(Some(dockerd))
    }

    /// A docker command for this daemon.
    pub fn command(&self, arguments: &[&str]) -> Command {
        // A docker elsewhere in PATH may be another program.
        let mut command = Command::new(program("/usr/bin/docker").unwrap_or(std::path::Path::new("docker")));
        command
            .env("DOCKER_HOST", format!("unix://{}/socket", self.folder.path().display()))
            .env("DOCKER_CONFIG", self.folder.path().join("config"))
            .args(arguments);
        command
    }

    pub fn docker(&self, arguments: &[&str]) -> Result<Finished> {
        run(&mut self.command(arguments), b"")
    }

    /// The socket, for other clients.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let _ = terminate(&self.child);
        let _ = wait_for_end(&mut self.child, STOP_TIME);
    }
}
