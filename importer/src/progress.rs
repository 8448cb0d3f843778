//! What an import tells while it runs.

use registry_types::Platform;

/// One thing that happened. Nodes work at the same time, so events of different nodes interleave.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressEvent {
    /// The cluster's nodes, in the order of the report.
    NodesFound { nodes: Vec<String> },
    /// A node said what it is and has.
    NodeRead { node: String, platform: Platform, containerd: String },
    /// What a node lacks; zero bytes when only names are missing or nothing is.
    Planned { node: String, layers: usize, bytes: u64 },
    /// More of the stream reached the node: the bytes so far.
    Sent { node: String, bytes: u64 },
    /// The node lost content meanwhile; everything it lacks now is sent once more.
    Resending { node: String, reason: String },
    /// The node took the stream; now its outcome is checked.
    Verifying { node: String },
    /// The node is done, with the failure if there was one.
    Finished { node: String, error: Option<String> },
}

/// Receives the events; called from several tasks, so it must be quick.
pub trait Progress: Send + Sync {
    fn report(&self, event: ProgressEvent);
}

/// Nobody listens.
impl Progress for () {
    fn report(&self, _: ProgressEvent) {}
}

impl<F: Fn(ProgressEvent) + Send + Sync> Progress for F {
    fn report(&self, event: ProgressEvent) {
        self(event);
    }
}
