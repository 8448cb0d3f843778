//! A cluster of two nodes and a load balancer, shaped like k3d's: the same labels, names and paths.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use importer::{DockerAddress, ImportOptions};
use registry_types::{Digest, ImageReference};

use crate::engine::{Engine, find_program};

pub(crate) const CLUSTER: &str = "mycluster";
pub(crate) const SERVER: &str = "k3d-mycluster-server-0";
pub(crate) const AGENT: &str = "k3d-mycluster-agent-0";
const LOAD_BALANCER: &str = "k3d-mycluster-serverlb";
const IMAGE: &str = "slipway-test/node:1";
pub(crate) const SOCKET: &str = "run/k3s/containerd/containerd.sock";
const START_LIMIT: Duration = Duration::from_mins(1);

/// The programs of a node.
pub(crate) struct NodeBinaries(Vec<PathBuf>);

impl NodeBinaries {
    pub(crate) fn of_system() -> Result<Self, String> {
        let programs = ["containerd", "ctr", "containerd-shim-runc-v2", "runc"];
        Self::checked(programs.into_iter().map(find_program).collect::<Result<_, _>>()?)
    }

    pub(crate) fn in_folder(folder: &Path) -> Result<Self, String> {
        let programs = ["containerd", "ctr", "containerd-shim-runc-v2"].map(|program| folder.join(program));
        if let Some(missing) = programs.iter().find(|program| !program.is_file()) {
            return Err(format!(
                "no containerd 2: {} is missing; go install it there or set SLIPWAY_CONTAINERD2",
                missing.display()
            ));
        }
        Self::checked(programs.into_iter().chain([find_program("runc")?]).collect())
    }

    fn checked(programs: Vec<PathBuf>) -> Result<Self, String> {
        if Path::new("/bin/busybox").is_file() {
            Ok(Self(programs))
        } else {
            Err("/bin/busybox is missing: apt-get install busybox-static".to_owned())
        }
    }
}

pub(crate) struct Cluster<'a> {
    pub(crate) engine: &'a Engine,
}

impl<'a> Cluster<'a> {
    pub(crate) async fn start(engine: &'a Engine, binaries: &NodeBinaries) -> Self {
        let status = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/node/build.sh"))
            .arg(engine.folder().join("node"))
            .arg(IMAGE)
            .args(&binaries.0)
            .env("DOCKER_HOST", engine.host())
            .status()
            .unwrap();
        assert!(status.success(), "the node image cannot be made");
        let cluster = Self { engine };
        cluster.run(SERVER, "server", &[]);
        cluster.run(AGENT, "agent", &[]);
        cluster.run(LOAD_BALANCER, "loadbalancer", &["--entrypoint", "/bin/sleep"]);
        cluster.wait(SERVER).await;
        cluster.wait(AGENT).await;
        cluster
    }

    fn run(&self, name: &str, role: &str, more: &[&str]) {
        let role_label = format!("k3d.role={role}");
        let cluster_label = format!("k3d.cluster={CLUSTER}");
        let mut arguments = vec![
            "run",
            "-d",
            "--name",
            name,
            "--hostname",
            name,
            "--network",
            "none",
            "--init",
            "--tmpfs",
            "/run",
            "--tmpfs",
            "/var/run",
            "--cap-add",
            "ALL",
            "--cap-drop",
            "SYS_RESOURCE",
            "--cgroupns",
            "private",
            "--security-opt",
            "seccomp=unconfined",
            "--security-opt",
            "apparmor=unconfined",
            "--security-opt",
            "systempaths=unconfined",
            "--label",
            "app=k3d",
            "--label",
            &cluster_label,
            "--label",
            &role_label,
            "--label",
            "k3d.cluster.token=not-a-secret",
        ];
        arguments.extend(more);
        arguments.push(IMAGE);
        if !more.is_empty() {
            arguments.push("2147483647");
        }
        self.engine.docker(&arguments);
    }

    /// Waits until a node's containerd answers.
    pub(crate) async fn wait(&self, node: &str) {
        let deadline = Instant::now() + START_LIMIT;
        while !self.engine.try_docker(&Self::ctr_command(node, &["version"])).status.success() {
            assert!(
                Instant::now() < deadline,
                "{node} does not answer: {}",
                self.engine.docker(&["logs", node])
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn ctr_command<'b>(node: &'b str, arguments: &[&'b str]) -> Vec<&'b str> {
        let mut command =
            vec!["exec", node, "ctr", "-a", "/run/k3s/containerd/containerd.sock", "-n", "k8s.io"];
        command.extend(arguments);
        command
    }

    /// Runs `ctr ARGUMENTS...` in a node; it must succeed.
    pub(crate) fn ctr(&self, node: &str, arguments: &[&str]) -> String {
        self.engine.docker(&Self::ctr_command(node, arguments))
    }

    /// The digest that `name` points at in a node, and the line that lists it.
    pub(crate) fn record(&self, node: &str, name: &str) -> Option<(Digest, String)> {
        let table = self.ctr(node, &["images", "ls"]);
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name))?;
        Some((line.split_whitespace().nth(2)?.parse().unwrap(), line.to_owned()))
    }

    /// The path on this machine of the socket of a node's containerd.
    pub(crate) fn socket(&self, node: &str) -> PathBuf {
        let pid = self.engine.docker(&["inspect", "-f", "{{.State.Pid}}", node]);
        Path::new("/proc").join(pid).join("root").join(SOCKET)
    }

    pub(crate) fn options(&self, images: &[&str]) -> ImportOptions {
        let images: Vec<ImageReference> = images.iter().map(|image| image.parse().unwrap()).collect();
        ImportOptions::new(CLUSTER, images, DockerAddress::Unix(self.engine.socket()))
    }
}
