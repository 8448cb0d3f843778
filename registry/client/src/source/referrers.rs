//! What refers to an image: from the registry's list, or out of a layout's index, in which referrers stand beside the
//! images (image specification, "OCI Image Layout", and the distribution specification's tag schema).

use registry_types::{Descriptor, Digest, ManifestKind, MediaType};

use super::{LocalSource, Source};
use crate::{Error, listing::referrers_tag};

impl Source {
    /// The manifests whose subject is `digest`: signatures, attestations, bills of material. With `artifact_type`, only
    /// those of that type.
    pub async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, Error> {
        match self {
            Self::Registry(source) => source.repository.referrers(digest, artifact_type).await,
            Self::Local(source) => {
                let mut found = source.referrers(digest).await?;
                found.retain(|referrer| {
                    artifact_type.is_none_or(|wanted| referrer.artifact_type.as_ref() == Some(wanted))
                });
                Ok(found)
            }
        }
    }
}

impl LocalSource {
    async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        let fallback = referrers_tag(digest)?;
        let mut found: Vec<Descriptor> = Vec::new();
        for entry in &self.layout.images {
            let manifest = self.store.manifest(&entry.descriptor).await?;
            let view = manifest.view()?;
            if view.kind == ManifestKind::Index && entry.names.iter().any(|name| name == fallback.as_str()) {
                found.extend(view.manifests);
            } else if view.subject.as_ref().is_some_and(|subject| subject.digest == *digest) {
                let artifact_type = view.effective_artifact_type().cloned();
                let annotations = Some(view.annotations).filter(|annotations| !annotations.is_empty());
                found.push(Descriptor { artifact_type, annotations, ..manifest.descriptor() });
            }
        }
        let mut seen = std::collections::HashSet::new();
        found.retain(|referrer| seen.insert(referrer.digest));
        Ok(found)
    }
}
