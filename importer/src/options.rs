//! What to import, where to, and within which limits.

use std::time::Duration;

use registry_types::ImageReference;

use crate::DockerAddress;

/// The settings of one import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The cluster's name as `k3d cluster list` shows it.
    pub cluster: String,
    pub images: Vec<ImageReference>,
    pub docker: DockerAddress,
    /// Ask the nodes and plan, and send nothing.
    pub dry_run: bool,
    /// Keep the images from the kubelet's garbage collection (on containerd 1.7 and later; 1.6 ignores it).
    pub pin: bool,
    /// Let go of earlier images of the same repositories that an import pinned.
    pub unpin_previous: bool,
    pub limits: Limits,
}

impl ImportOptions {
    /// An import with the usual settings.
    pub fn new(cluster: impl Into<String>, images: Vec<ImageReference>, docker: DockerAddress) -> Self {
        Self {
            cluster: cluster.into(),
            images,
            docker,
            dry_run: false,
            pin: true,
            unpin_previous: false,
            limits: Limits::default(),
        }
    }
}

/// How long a node may take for each part.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A short command in the node, such as listing its images.
    pub command: Duration,
    /// A pause in the stream, of the source or of the node.
    pub stall: Duration,
    /// Unpacking after the last byte: large images on slow disks take minutes.
    pub unpack: Duration,
    /// Until the node's CRI shows an image that containerd has: about half a second on an idle node.
    pub appear: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command: Duration::from_mins(1),
            stall: Duration::from_mins(1),
            unpack: Duration::from_mins(10),
            appear: Duration::from_secs(30),
        }
    }
}
