//! What can go wrong on the way out. Unless a registry was found wanting before the build, the image itself is built
//! and in the local store when any of these is told.

use std::io;
use std::path::PathBuf;

use builder_store::StoreError;
use registry_types::Digest;

/// Result of every fallible function of this crate.
pub type Result<T, E = OutputError> = std::result::Result<T, E>;

/// Why an image did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// A registry did not take a blob or the manifest.
    #[error("the image was not pushed to {image}: {source}")]
    Push { image: String, source: Box<registry_client::Error> },
    /// A layer of a base image is needed here and its registry does not give it.
    #[error("layer {digest} of a base image cannot be fetched from {origin}: {source}")]
    Fetch { digest: Digest, origin: String, source: Box<registry_client::Error> },
    /// A layer is neither in the local store nor known to any registry.
    #[error(
        "layer {digest} is not in the local store and no registry is known to have it; build with --no-cache"
    )]
    LayerLost { digest: Digest },
    /// The text of `-o` is malformed or asks for something that there is not.
    #[error("the output {text:?} cannot be used: {reason}")]
    Destination { text: String, reason: String },
    /// A file or directory could not be written.
    #[error("{action} {}: {source}", .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
    /// What stands at the destination is not what can be written to.
    #[error("{} cannot take an image: {reason}", .path.display())]
    Layout { path: PathBuf, reason: String },
    /// The image config is not an object of the image specification.
    #[error("the image config cannot be written: {reason}")]
    Config { reason: String },
    /// Several outputs failed at once; the others are done.
    #[error("{} outputs failed: {}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part of the program ended early.
    #[error("{what} ended early: {reason}")]
    Interrupted { what: &'static str, reason: String },
}

impl OutputError {
    /// The registry's part in it. Of several failures it is the first one's, if a registry had its part in each.
    pub fn registry_error(&self) -> Option<&registry_client::Error> {
        match self {
            Self::Push { source, .. } | Self::Fetch { source, .. } => Some(source),
            Self::Several(errors) => {
                let told: Option<Vec<_>> = errors.iter().map(Self::registry_error).collect();
                told?.first().copied()
            }
            _ => None,
        }
    }

    pub(crate) fn push(image: impl ToString, source: registry_client::Error) -> Self {
        Self::Push { image: image.to_string(), source: Box::new(source) }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { action, path: path.into(), source: source.into() }
    }

    pub(crate) fn interrupted(what: &'static str) -> impl FnOnce(tokio::task::JoinError) -> Self {
        move |error| Self::Interrupted { what, reason: error.to_string() }
    }
}

/// One error of several: itself, if there is only one.
pub(crate) fn joined(mut errors: Vec<OutputError>) -> Result<()> {
    match (errors.len(), errors.pop()) {
        (_, None) => Ok(()),
        (1, Some(only)) => Err(only),
        (_, Some(last)) => {
            errors.push(last);
            Err(OutputError::Several(errors))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_s_part_is_told_if_it_had_one_in_each_failure() {
        let denied = || {
            let (host, action, message) = ("registry".to_owned(), "push".to_owned(), "no".to_owned());
            OutputError::push("app:1", registry_client::Error::Denied { host, action, message })
        };
        let full = || OutputError::file("writing", "app.tar", io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(denied().registry_error(), Some(registry_client::Error::Denied { .. })));
        assert!(full().registry_error().is_none());
        let refused = OutputError::Several(vec![denied(), denied()]);
        assert!(matches!(refused.registry_error(), Some(registry_client::Error::Denied { .. })));
        assert!(OutputError::Several(vec![denied(), full()]).registry_error().is_none());
    }
}
