//! Copying an image into a registry, without telling how far it is.

use registry_types::{Digest, Tag};

use super::Source;
use crate::{Copier, CopyOptions, Error, Manifest, Repository, Target, TargetName};

impl Source {
    /// Copies `manifest` with all it points to into `target` and names it by `tags`, or by digest only when there are
    /// none. Gives its digest.
    pub async fn copy_to(
        &self,
        manifest: &Manifest,
        target: &Repository,
        tags: &[Tag],
    ) -> Result<Digest, Error> {
        let names: Vec<TargetName> = tags.iter().cloned().map(TargetName::tag).collect();
        let copier = Copier::new(Target::Registry(target.clone()), CopyOptions::default(), |_| {});
        Ok(copier.copy_manifest(self, manifest, &names).await?.digest)
    }
}
