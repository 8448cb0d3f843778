//! What an import did, node by node: what `--output json` prints.

use registry_types::Digest;
use serde::Serialize;

/// The outcome of one import.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub cluster: String,
    /// Whether only the plan was made: nothing was sent.
    pub dry_run: bool,
    /// Things to mend that did not make the import fail.
    pub warnings: Vec<String>,
    /// Every server and agent node, by name.
    pub nodes: Vec<NodeReport>,
}

impl Report {
    /// Whether every node has every image.
    pub fn succeeded(&self) -> bool {
        self.nodes.iter().all(|node| node.state != NodeState::Failed)
    }
}

/// One node's part.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeReport {
    pub name: String,
    /// `server` or `agent`.
    pub role: String,
    pub state: NodeState,
    /// Why the node failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `linux/amd64` and the like; absent when the node could not be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The version of the node's containerd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containerd: Option<String>,
    pub images: Vec<ImageReport>,
    /// Distinct layers of all images together that were sent, or would be in a dry run.
    pub layers_sent: usize,
    /// Layers that the node already had.
    pub layers_skipped: usize,
    /// Length of the streams to the node, in bytes; in a dry run the length of the missing blobs.
    pub bytes_sent: u64,
    /// Whether everything had to be sent again because the node lost content meanwhile.
    pub resent: bool,
    /// Wall time of this node's part.
    pub seconds: f64,
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Dry run: this is what would be sent.
    Planned,
    /// Everything was there already, and was checked.
    UpToDate,
    /// Something was sent, and the outcome was checked.
    Imported,
    Failed,
}

/// One image on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageReport {
    /// The reference as asked for, in full.
    pub image: String,
    /// Digest of the manifest for this node's platform.
    pub digest: Digest,
    /// The names by which pods on the node can use it.
    pub names: Vec<String>,
    pub state: ImageState,
}

/// What a node needed of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageState {
    /// Content and names were there.
    Present,
    /// The content was there; names were missing.
    NamesMissing,
    /// Content was missing.
    ContentMissing,
}
