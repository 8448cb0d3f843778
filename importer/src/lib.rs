//! Images into cluster nodes, missing layers only.
//!
//! [`import()`] finds a k3d cluster's nodes through the Docker Engine, asks each what it has, streams the rest
//! of the image from an [`ImageSource`] into `ctr images import` in the node, and verifies the outcome there:
//! name and digest, the CRI's label, complete and unpacked content. No Docker image, no temporary tar, no
//! registry access from inside the cluster is needed.

mod client_source;
mod docker;
mod error;
mod image;
mod import;
mod node;
mod options;
mod progress;
mod report;
mod source;
#[cfg(test)]
mod testing;
mod transfer;

pub use client_source::ClientSource;
pub use docker::{DockerAddress, TlsFiles};
pub use error::{ImportError, SourceError};
pub use import::import;
pub use options::{ImportOptions, Limits};
pub use progress::{Progress, ProgressEvent};
pub use report::{ImageReport, ImageState, NodeReport, NodeState, Report};
pub use source::{BlobReader, ImageSource, ResolvedImage};
