//! The crate's one error type. Each message says what happened, to what, and how to mend it.

use std::fmt;

use registry_types::{Digest, ImageReference, Platform};

use crate::Report;

/// What a source of images may fail with; the importer adds which image it was about.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Why an import, or one node's part of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// `DOCKER_HOST`, the TLS files or the Docker context cannot be used.
    #[error("the Docker address {address:?} cannot be used: {reason}")]
    DockerAddress { address: String, reason: String },
    #[error(
        "no Docker Engine answers at {address}: {reason}; start it or point DOCKER_HOST at the right one"
    )]
    DockerUnreachable { address: String, reason: String },
    /// The Engine answered with an error status.
    #[error("the Docker Engine refused to {action}: {message} (status {status})")]
    DockerRefused { action: String, status: u16, message: String },
    /// The Engine's answer is not what its API describes, or the connection broke.
    #[error("the Docker Engine's answer to \"{action}\" is unusable: {reason}")]
    DockerProtocol { action: String, reason: String },
    #[error("{action} took longer than {seconds} s; the node may be overloaded or paused")]
    TimedOut { action: String, seconds: u64 },
    #[error("there is no k3d cluster {cluster:?} on this Docker Engine; {}", found_clusters(.found))]
    UnknownCluster { cluster: String, found: Vec<String> },
    #[error("cluster {cluster:?} has no server or agent node; create it again with k3d cluster create")]
    NoNodes { cluster: String },
    /// Some nodes do not run, so an import would leave the cluster half-done.
    #[error(
        "cluster {cluster:?} has nodes that do not run: {}; start them with k3d cluster start {cluster}",
        .nodes.join(", ")
    )]
    StoppedNodes { cluster: String, nodes: Vec<String> },
    #[error("nothing to import: name at least one image")]
    NoImages,
    /// The source does not have the image, or cannot be read.
    #[error("{image} cannot be read from its source: {source}")]
    Source { image: Box<ImageReference>, source: SourceError },
    #[error("{image} has no image for {wanted} (node {node}): it is for {found}")]
    WrongPlatform { image: Box<ImageReference>, wanted: Box<Platform>, found: Box<Platform>, node: String },
    #[error("{image} is not a container image: {reason}")]
    NotAnImage { image: Box<ImageReference>, reason: String },
    /// The node's machine name is not one that images are built for.
    #[error("the node's machine type {machine:?} is not one that container images are built for")]
    UnknownMachine { machine: String },
    #[error("no containerd socket in the node (looked at {looked}); is it a k3d node?")]
    NoContainerd { looked: String },
    /// A command in the node failed, for a reason without a variant of its own.
    #[error("{command} failed in the node with exit code {code}: {reason}")]
    NodeCommand { command: String, code: i64, reason: String },
    #[error("the node's answer to {command} cannot be read: {reason}")]
    NodeAnswer { command: String, reason: String },
    /// Content that the node listed was gone when the import needed it.
    #[error("the node lost content while the image was imported: {reason}; import it again")]
    MissingContent { reason: String },
    #[error("the node's disk is full: {reason}; free space, then import again")]
    NodeFull { reason: String },
    #[error("containerd in the node does not answer: {reason}; look at the node's log with docker logs")]
    ContainerdDown { reason: String },
    /// The import was accepted and its outcome is not what was asked for.
    #[error("the import of {name} could not be verified: {reason}")]
    Unverified { name: String, reason: String },
    /// At least one node failed; the report holds every node, the good ones too.
    #[error("{}", failed_nodes(.report))]
    NodesFailed { report: Box<Report> },
}

impl ImportError {
    pub(crate) fn source(image: &ImageReference, source: impl Into<SourceError>) -> Self {
        Self::Source { image: Box::new(image.clone()), source: source.into() }
    }

    /// A blob's length in the stream is not the one its descriptor states.
    pub(crate) fn wrong_size(
        image: &ImageReference,
        digest: &Digest,
        expected: u64,
        difference: &str,
    ) -> Self {
        Self::source(image, format!("blob {digest} is {difference} than the {expected} bytes it should have"))
    }
}

fn found_clusters(found: &[String]) -> String {
    if found.is_empty() {
        "it has none; create one with k3d cluster create".to_owned()
    } else {
        format!("it has {}", found.join(", "))
    }
}

fn failed_nodes(report: &Report) -> impl fmt::Display {
    let failed: Vec<String> = report
        .nodes
        .iter()
        .filter_map(|node| node.error.as_ref().map(|error| format!("{}: {error}", node.name)))
        .collect();
    format!("{} of {} nodes failed: {}", failed.len(), report.nodes.len(), failed.join("; "))
}
