//! What outputs tell while they work. Bytes of each transfer come from the client's own progress.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use registry_client::Mount;
use registry_types::{Digest, ImageReference};

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputEvent {
    /// A layer of a base image has to be brought to this machine first.
    Fetching { digest: Digest, size: u64 },
    /// A blob is on its way into a repository.
    Pushing { repository: String, digest: Digest, size: u64 },
    /// A blob is in a repository, and how it came there.
    Pushed { repository: String, digest: Digest, size: u64, how: Mount },
    /// A tag points to the image, as the registry confirmed.
    Tagged { image: ImageReference, digest: Digest },
    /// An archive or a layout is whole and synced.
    Written { path: PathBuf },
}

type Handler = dyn Fn(OutputEvent) + Send + Sync;

/// Who is told. The handler is called from transfers and must return at once.
#[derive(Clone)]
pub struct OutputEvents(Arc<Handler>);

impl OutputEvents {
    pub fn new(handler: impl Fn(OutputEvent) + Send + Sync + 'static) -> Self {
        Self(Arc::new(handler))
    }

    /// Tells nobody.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn tell(&self, event: OutputEvent) {
        (self.0)(event);
    }
}

impl fmt::Debug for OutputEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OutputEvents")
    }
}
