//! A containerd of our own: it shares nothing with one that may run on the machine.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    Finished,
    command::{terminate, wait_for_end},
    is_root, program, run, skip,
};

const START_TIME: Duration = Duration::from_secs(30);
const STOP_TIME: Duration = Duration::from_secs(30);

/// A running containerd, and a folder of `hosts.toml` files for its client.
#[derive(Debug)]
pub struct Containerd {
    child: Child,
    folder: TempDir,
}

impl Containerd {
    /// `None`, with the reason told, where it cannot run.
    pub fn start() -> Result<Option<Self>> {
        let Some(daemon) = program("/usr/bin/containerd").filter(|_| is_root()) else {
            skip("containerd needs its package and root");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("slipway-ctrd-").tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        // Without the CRI plugin it needs no network set-up.
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
            path("root"),
            path("state"),
            path("socket")
        );
        fs::write(path("config.toml"), config)?;
        let log = fs::File::create(path("log"))?;
        let child = Command::new(daemon)
            .arg("--config")
            .arg(path("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start containerd")?;
        let mut containerd = Self { child, folder };
        let until = Instant::now() + START_TIME;
        while !containerd.ctr(&["version"]).is_ok_and(|finished| finished.success) {
            let log = || fs::read_to_string(containerd.folder.path().join("log")).unwrap_or_default();
            if let Some(status) = containerd.child.try_wait()? {
                bail!("containerd ended with {status}:\n{}", log());
            }
            ensure!(Instant::now() < until, "containerd does not answer:\n{}", log());
            sleep(Duration::from_millis(50));
        }
        Ok(Some(containerd))
    }

    pub fn ctr(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new("/usr/bin/ctr");
        command.arg("--address").arg(self.folder.path().join("socket")).args(arguments);
        run(&mut command, b"")
    }

    /// Writes the `hosts.toml` of a registry, and gives the folder for `--hosts-dir`.
    pub fn configure_host(&self, registry: &str, hosts: &str) -> Result<PathBuf> {
        let hosts_folder = self.folder.path().join("hosts");
        let folder = hosts_folder.join(registry);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("hosts.toml"), hosts)?;
        Ok(hosts_folder)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = terminate(&self.child);
        let _ = wait_for_end(&mut self.child, STOP_TIME);
    }
}
