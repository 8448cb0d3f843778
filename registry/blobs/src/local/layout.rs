//! Where things are: blobs in the tree that the distribution registry and GitLab's use, so that an existing
//! store is adopted in place; sessions beside it on the same file system, so that a finished one is renamed
//! into the tree.

use std::{
    io,
    path::{Path, PathBuf},
};

use registry_types::{Algorithm, Digest, UploadId};

/// The blobs' folder below the root: `blobsPathSpec` of the distribution registry's filesystem layout.
const BLOBS: &str = "docker/registry/v2/blobs";

/// The sessions' folder below the root.
const UPLOADS: &str = "uploads";

/// The paths of one store.
#[derive(Debug)]
pub(super) struct Layout {
    blobs: PathBuf,
    uploads: PathBuf,
}

impl Layout {
    /// Makes the folders that are missing, durably.
    pub(super) fn prepare_blocking(root: &Path) -> io::Result<Self> {
        let layout = Self { blobs: root.join(BLOBS), uploads: root.join(UPLOADS) };
        registry_io::create_directories_synced(&layout.uploads)?;
        for algorithm in Algorithm::ALL {
            registry_io::create_directories_synced(&layout.blobs.join(algorithm.name()))?;
        }
        Ok(layout)
    }

    /// The folder of all blobs.
    pub(super) fn blobs(&self) -> &Path {
        &self.blobs
    }

    /// The folder of all sessions.
    pub(super) fn uploads(&self) -> &Path {
        &self.uploads
    }

    /// A session's file.
    pub(super) fn session(&self, id: UploadId) -> PathBuf {
        self.uploads.join(id.to_string())
    }

    /// The folder of one blob.
    pub(super) fn blob_directory(&self, digest: &Digest) -> PathBuf {
        let mut path = self.blobs.join(Self::blob_data(digest));
        path.pop();
        path
    }

    /// A blob's file, relative to [`Layout::blobs`].
    pub(super) fn blob_data(digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let shard: String = hex.chars().take(2).collect();
        PathBuf::from(format!("{}/{shard}/{hex}/data", digest.algorithm()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_lie_where_the_distribution_registry_has_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let layout = Layout::prepare_blocking(folder.path()).expect("made");
        Layout::prepare_blocking(folder.path()).expect("made already");
        let digest = Digest::sha256(b"");
        let directory = layout.blob_directory(&digest);
        let expected = "docker/registry/v2/blobs/sha256/e3/\
                        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(directory, folder.path().join(expected));
        assert_eq!(layout.blobs().join(Layout::blob_data(&digest)), directory.join("data"));
    }
}
