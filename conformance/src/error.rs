//! Why no verdict could be reached. A registry that fails tests is not an error: the report says so.

use std::path::PathBuf;

use crate::official::INSTALL;

#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// The address of the registry cannot be used.
    #[error("{text:?} is not the address of a registry: {reason}; write http://host:port or https://host")]
    Target { text: String, reason: String },
    #[error(
        "the official suite is not installed (looked in {looked}); install it with\n  {INSTALL}\nand put it on PATH under the name oci-conformance, or name it with --suite"
    )]
    SuiteMissing { looked: String },
    #[error("the registry at {registry} cannot be reached: {reason}")]
    Unreachable { registry: String, reason: String },
    /// The registry refused the name and password.
    #[error("the registry at {registry} refuses to give a token: {reason}")]
    Unauthorized { registry: String, reason: String },
    #[error("the official suite did not run for version {version}: {reason}")]
    SuiteFailed { version: &'static str, reason: String },
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}
