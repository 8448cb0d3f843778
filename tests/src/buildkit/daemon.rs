//! A BuildKit daemon of our own: runc from Debian, a socket and a root folder that nobody else uses.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    Finished,
    command::{terminate, wait_for_end},
    is_root, program, run, skip, tool,
};

const START_TIME: Duration = Duration::from_secs(60);
/// How long it may take to end its builds after SIGTERM.
const STOP_TIME: Duration = Duration::from_secs(20);
const CGROUPS: &str = "/sys/fs/cgroup";
const RUNC: &str = "/usr/sbin/runc";

/// A running daemon. Its process, its mounts and its files end with it.
#[derive(Debug)]
pub struct Buildkitd {
    child: Child,
    folder: TempDir,
    client: PathBuf,
}

impl Buildkitd {
    /// A daemon that pulls from and pushes to `registry` by plain HTTP. `None`, with the reason told, where it
    /// cannot run.
    pub fn start(registry: &str) -> Result<Option<Self>> {
        let (Some(daemon), Some(client)) = (tool("buildkitd"), tool("buildctl")) else {
            skip("buildkitd and buildctl are not installed: cargo xtask fixtures");
            return Ok(None);
        };
        let Some(runc) = program(RUNC).filter(|_| is_root()) else {
            skip("buildkitd needs runc and root");
            return Ok(None);
        };
        let folder = tempfile::Builder::new().prefix("slipway-buildkit-").tempdir()?;
        let config = folder.path().join("buildkitd.toml");
        let control_group = control_group(folder.path());
        let text = format!(
            "[worker.oci]\ndefaultCgroupParent = \"{control_group}\"\n\
             [registry.\"{registry}\"]\nhttp = true\ninsecure = true\n"
        );
        fs::write(&config, text)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let child = Command::new(daemon)
            .arg("--config")
            .arg(&config)
            .arg("--root")
            .arg(folder.path().join("root"))
            .arg("--addr")
            .arg(address(folder.path()))
            .args(["--containerd-worker=false", "--oci-worker=true", "--oci-worker-net", "host"])
            .arg("--oci-worker-binary")
            .arg(runc)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start buildkitd")?;
        let mut daemon = Self { child, folder, client };
        daemon.wait_until_it_answers()?;
        Ok(Some(daemon))
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let until = Instant::now() + START_TIME;
        while !run(self.client().args(["debug", "workers"]), b"").is_ok_and(|finished| finished.success) {
            if let Some(status) = self.child.try_wait()? {
                bail!("buildkitd ended with {status}:\n{}", self.log());
            }
            ensure!(Instant::now() < until, "buildkitd does not answer:\n{}", self.log());
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn client(&self) -> Command {
        let mut command = Command::new(&self.client);
        // No credentials of the machine's user.
        command.env("DOCKER_CONFIG", self.folder.path().join("config"));
        command.arg("--addr").arg(address(self.folder.path()));
        command
    }

    /// Builds the Dockerfile of `context` and pushes the image as `image`. `options` are those of the Dockerfile
    /// frontend, such as `target=NAME` or `build-arg:NAME=VALUE`.
    pub fn build(&self, context: &Path, image: &str, options: &[String]) -> Result<Finished> {
        let mut command = self.client();
        command.args(["build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
        for name in ["context", "dockerfile"] {
            command.arg("--local").arg(format!("{name}={}", context.display()));
        }
        for option in options {
            command.arg("--opt").arg(option);
        }
        command.arg("--output").arg(format!("type=image,name={image},push=true,oci-mediatypes=true"));
        run(&mut command, b"")
    }

    /// What the daemon has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Name of the control group that all steps are in.
fn control_group(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes our groups from every hierarchy: a step that was killed leaves its own, and the daemon their parents.
fn remove_control_groups(name: &str) {
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([PathBuf::from(CGROUPS)]) {
        let ours = hierarchy.join(name);
        let steps = ours.join("buildkit");
        for step in fs::read_dir(&steps).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(step.path());
        }
        let _ = fs::remove_dir(steps);
        let _ = fs::remove_dir(ours);
    }
}

fn address(folder: &Path) -> String {
    format!("unix://{}", folder.join("socket").display())
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        let _ = terminate(&self.child);
        let _ = wait_for_end(&mut self.child, STOP_TIME);
        // A killed daemon leaves the mounts of its steps; with them the folder could not be removed.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let ours = |line: &&str| {
            line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(self.folder.path()))
        };
        for line in mounts.lines().rev().filter(ours) {
            let at = line.split(' ').nth(1).unwrap_or_default();
            let _ = run(Command::new("umount").args(["--lazy", at]), b"");
        }
        remove_control_groups(&control_group(self.folder.path()));
        // The harness shows it only when the test fails.
        println!("the log of buildkitd:\n{}", self.log());
    }
}
