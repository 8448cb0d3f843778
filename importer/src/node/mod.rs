//! One node of a cluster: a container with containerd in it, reached by exec.

mod failure;
mod find;
mod inventory;
mod probe;
mod records;
mod sections;

use crate::{
    ImportError, Limits,
    docker::{Docker, ExecOutput},
};

pub(crate) use find::find_nodes;
pub(crate) use inventory::{Inventory, Record};
pub(crate) use probe::NodeFacts;
pub(crate) use records::{Outcome, Verdict};

/// containerd's namespace of everything that Kubernetes uses.
pub(crate) const NAMESPACE: &str = "k8s.io";

/// A running server or agent node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) docker: Docker,
    /// The container's id.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) limits: Limits,
}

impl Node {
    /// Runs a shell script with `arguments` as `$1`, `$2`, ...: nothing of them is read as shell.
    async fn run_script(&self, script: &str, arguments: &[String]) -> Result<ExecOutput, ImportError> {
        let mut command: Vec<String> =
            ["sh", "-c", &format!("{}{script}", sections::FUNCTIONS), "slipway"].map(str::to_owned).to_vec();
        command.extend_from_slice(arguments);
        self.docker.run(&self.id, &command, self.limits.command).await
    }
}
