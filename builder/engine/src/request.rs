//! What to build.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use builder_store::compression::{Compression, LayerWriter};
use registry_types::Platform;
use time::OffsetDateTime;

/// Where the Dockerfile is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DockerfileSource {
    /// `Dockerfile` in the context.
    #[default]
    InContext,
    /// A file, not necessarily in the context.
    File(PathBuf),
    /// Its text, for instance from the standard input.
    Text(String),
}

/// Whether the image depends on when it is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reproducibility {
    /// Times are those of the build.
    #[default]
    Timestamps,
    /// No time in image, config or layers is later than this one, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    Epoch(i64),
}

impl Reproducibility {
    pub(crate) fn epoch(self) -> Option<i64> {
        match self {
            Self::Timestamps => None,
            Self::Epoch(seconds) => Some(seconds),
        }
    }

    /// The time that what is made now carries.
    pub(crate) fn now(self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        self.epoch().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()).unwrap_or(now)
    }
}

/// A build.
#[derive(Clone)]
pub struct BuildRequest {
    /// Directory that COPY and ADD take files from.
    pub context: PathBuf,
    pub dockerfile: DockerfileSource,
    /// Name of the stage to build; the last one if not given.
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    /// Labels of the image besides the Dockerfile's. No step is built anew for them.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// The image's platform; that of this machine if not given.
    pub platform: Option<Platform>,
    /// Fails before the first step if there is anything to warn of.
    pub strict: bool,
    /// Executes every step, whatever earlier builds did.
    pub no_cache: bool,
    /// Asks registries for base images even if the local store has an image of the name.
    pub pull: bool,
    pub reproducibility: Reproducibility,
    pub compression: Compression,
    /// Threads that compress a layer. They never change a byte.
    pub threads: usize,
    /// Stages that are built at once.
    pub stages_at_once: usize,
}

impl BuildRequest {
    /// A build of the Dockerfile in `context` with nothing special.
    pub fn new(context: impl Into<PathBuf>) -> Self {
        let processors = LayerWriter::<std::io::Sink>::default_threads();
        Self {
            context: context.into(),
            dockerfile: DockerfileSource::default(),
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            platform: None,
            strict: false,
            no_cache: false,
            pull: false,
            reproducibility: Reproducibility::default(),
            compression: Compression::default(),
            threads: processors,
            // Steps wait for networks and disks as often as for processors.
            stages_at_once: processors.max(4),
        }
    }
}

/// Values of build arguments may be passwords of proxies, so only their names are shown.
impl fmt::Debug for BuildRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildRequest")
            .field("context", &self.context)
            .field("dockerfile", &self.dockerfile)
            .field("target", &self.target)
            .field("build_args", &self.build_args.keys())
            .field("reproducibility", &self.reproducibility)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_text_shows_no_value_of_a_build_argument() {
        let mut request = BuildRequest::new("context");
        request.build_args.insert("HTTP_PROXY".to_owned(), "http://user:hunter2@proxy".to_owned());
        let text = format!("{request:?}");
        assert!(text.contains("HTTP_PROXY") && !text.contains("hunter2"), "{text}");
    }
}
