//! A Docker Engine of our own in a temporary folder, ended with everything it started when it is dropped.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Engine {
    daemon: Child,
    folder: TempDir,
}

impl Engine {
    /// Starts it; the text of an error tells why it cannot run here.
    pub(crate) async fn start() -> Result<Self, String> {
        for program in ["dockerd", "docker", "containerd", "runc", "setpriv"] {
            find_program(program)?;
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = |name: &str| folder.path().join(name);
        let log = File::create(path("log")).map_err(|error| error.to_string())?;
        // A killed test takes the daemon with it.
        let daemon = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "dockerd", "--bridge", "none", "--iptables=false"])
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("-H")
            .arg(format!("unix://{}", path("docker.sock").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("dockerd does not start: {error}"))?;
        let mut engine = Self { daemon, folder };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if engine.command(&["version"]).output().is_ok_and(|output| output.status.success()) {
                return Ok(engine);
            }
            let ended = engine.daemon.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(engine.folder.path().join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(3).collect();
                return Err(format!("dockerd does not run here: {}", tail.join(" | ")));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(self.host()).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `docker ARGUMENTS...`.
    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("docker was found at the start")
    }

    /// Runs `docker ARGUMENTS...`, which must succeed, and gives its output.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let output = self.try_docker(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let list = self.try_docker(&["ps", "-aq"]).stdout;
        let list = String::from_utf8_lossy(&list).into_owned();
        let containers: Vec<&str> = list.split_whitespace().collect();
        if !containers.is_empty() {
            // A paused container cannot be killed.
            self.try_docker(&[&["unpause"], containers.as_slice()].concat());
            self.try_docker(&[&["rm", "-fv"], containers.as_slice()].concat());
        }
        // SIGTERM, so that the daemon ends its own containerd.
        let _ = Command::new("kill").arg(self.daemon.id().to_string()).status();
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.daemon.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.daemon.kill();
                let _ = self.daemon.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = self.folder.path().to_string_lossy().into_owned();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
            if mount.starts_with(&ours) {
                let _ = Command::new("umount").args(["-l", mount]).status();
            }
        }
    }
}

/// Where `name` is on the PATH.
pub(crate) fn find_program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{name} is missing: apt-get install docker.io containerd runc busybox-static"))
}
