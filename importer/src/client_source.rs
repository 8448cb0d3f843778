//! The registry client's sources as an [`ImageSource`]: images from their own registries, or from an OCI
//! layout, an archive or standard input under the names they are to have on the nodes.

use std::collections::HashMap;

use futures_util::future::{BoxFuture, FutureExt};
use registry_client::{Client, Source, select_platform};
use registry_types::{Descriptor, ImageReference, ManifestKind, Platform};

use crate::{BlobReader, ImageSource, ResolvedImage, SourceError};

/// How deep indexes may lie within indexes before an image is reached.
const DEEPEST_INDEX: usize = 4;

/// Images from registries, and from elsewhere where that was said.
#[derive(Debug, Clone)]
pub struct ClientSource {
    client: Client,
    elsewhere: HashMap<ImageReference, Source>,
}

impl ClientSource {
    /// Every image comes from the registry that its reference names.
    pub fn new(client: Client) -> Self {
        Self { client, elsewhere: HashMap::new() }
    }

    /// `image` comes from `source`, whatever that calls it.
    #[must_use]
    pub fn with(mut self, image: ImageReference, source: Source) -> Self {
        self.elsewhere.insert(image, source);
        self
    }

    fn of(&self, image: &ImageReference) -> Source {
        self.elsewhere.get(image).cloned().unwrap_or_else(|| Source::registry(&self.client, image))
    }
}

impl ImageSource for ClientSource {
    fn resolve<'a>(
        &'a self,
        image: &'a ImageReference,
        platform: &'a Platform,
    ) -> BoxFuture<'a, Result<ResolvedImage, SourceError>> {
        async move {
            let source = self.of(image);
            let mut manifest = source.top().await?;
            let mut index = None;
            for _ in 0..=DEEPEST_INDEX {
                let view = manifest.view()?;
                if view.kind != ManifestKind::Index {
                    let (manifest, manifest_bytes) = (manifest.descriptor(), manifest.bytes);
                    return Ok(ResolvedImage { manifest, manifest_bytes, index });
                }
                let child = select_platform(&view.manifests, platform, &source.label())?;
                let next = source.manifest(child).await?;
                index.get_or_insert((manifest.descriptor(), manifest.bytes));
                manifest = next;
            }
            Err(format!("its indexes lie more than {DEEPEST_INDEX} deep").into())
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        image: &'a ImageReference,
        blob: &'a Descriptor,
    ) -> BoxFuture<'a, Result<BlobReader, SourceError>> {
        async move {
            let stream = self.of(image).open(blob).await?;
            let reader: BlobReader = Box::pin(stream.into_reader());
            Ok(reader)
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use registry_types::{Digest, MediaType};
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::testing::FakeImage;

    /// Writes an OCI layout of an index of `image`, for amd64, and of something for s390x.
    fn write_layout(folder: &Path, image: &FakeImage) -> Digest {
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        let put = |content: &[u8]| {
            let digest = Digest::sha256(content);
            std::fs::write(blobs.join(digest.hex()), content).unwrap();
            digest
        };
        image.blobs.values().for_each(|blob| {
            put(blob);
        });
        put(&image.manifest_bytes);
        let mut child = image.manifest.clone();
        child.platform = Some(Platform::new("linux", "amd64", None));
        let mut other = child.clone();
        (other.digest, other.platform) =
            (Digest::sha256(b"absent"), Some(Platform::new("linux", "s390x", None)));
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [other, child],
        });
        let index = index.to_string();
        let digest = put(index.as_bytes());
        let top = Descriptor::new(MediaType::known(MediaType::OCI_INDEX), digest, index.len() as u64);
        let top = serde_json::json!({"schemaVersion": 2, "manifests": [top]});
        std::fs::write(folder.join("index.json"), top.to_string()).unwrap();
        std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        digest
    }

    #[tokio::test]
    async fn an_image_is_chosen_by_platform_and_its_blobs_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let fake = FakeImage::new("one", &[b"layer"]);
        let index = write_layout(folder.path(), &fake);
        let name: ImageReference = "host:1/a:t".parse().unwrap();
        let layout = Source::layout(folder.path(), None).await.unwrap();
        let source = ClientSource::new(Client::builder().build().unwrap()).with(name.clone(), layout);

        let amd64 = Platform::new("linux", "amd64", None);
        let found = source.resolve(&name, &amd64).await.unwrap();
        assert_eq!(found.manifest, fake.manifest);
        assert_eq!(found.manifest_bytes, fake.manifest_bytes);
        assert_eq!(found.index.unwrap().0.digest, index);

        let mut content = Vec::new();
        let mut reader = source.open(&name, &fake.layers[0]).await.unwrap();
        reader.read_to_end(&mut content).await.unwrap();
        assert_eq!(content, b"layer");

        let arm = Platform::new("linux", "arm64", Some("v8"));
        let error = source.resolve(&name, &arm).await.unwrap_err().to_string();
        assert!(error.contains("linux/arm64") && error.contains("linux/s390x"), "{error}");
    }
}
