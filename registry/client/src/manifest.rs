//! Manifests: pulled byte for byte and verified, pushed and re-checked.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use registry_types::{Descriptor, Digest, ManifestKind, ManifestView, MediaType, Platform, Reference, Tag};

use crate::{Error, Repository, auth::Scope, platform::select_platform, request::Call, transport::Payload};

/// Longest manifest that is read, in bytes. The specification asks registries for 4 MiB; some take more.
pub(crate) const LONGEST_MANIFEST: u64 = 8 << 20;

/// How deep indexes may lie within indexes before an image is reached.
pub(crate) const DEEPEST_INDEX: usize = 4;

/// What is asked for where the caller names nothing: images and indexes, OCI before Docker.
const ACCEPTED: [&str; 4] = [
    MediaType::OCI_INDEX,
    MediaType::OCI_MANIFEST,
    MediaType::DOCKER_MANIFEST_LIST,
    MediaType::DOCKER_MANIFEST,
];

/// By which a registry says that it knows what `subject` is (distribution specification, "Pushing Manifests with
/// Subject").
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A manifest as the registry sent it, verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    pub bytes: Bytes,
    pub media_type: MediaType,
    pub digest: Digest,
}

impl Manifest {
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest, self.bytes.len() as u64)
    }

    /// What it points to.
    pub fn view(&self) -> Result<ManifestView, Error> {
        Ok(ManifestView::parse(&self.bytes, Some(&self.media_type))?)
    }
}

/// The manifest of one image for one platform, and the index it was chosen from.
#[derive(Debug, Clone)]
pub struct ImageManifest {
    pub manifest: Manifest,
    pub view: ManifestView,
    /// The outermost index, if there was one.
    pub index: Option<Manifest>,
}

/// The way down from what a reference names to one image.
pub(crate) struct Chooser<'a> {
    platform: &'a Platform,
    /// For messages.
    image: &'a str,
    index: Option<Manifest>,
    depth: usize,
}

/// Where the way leads next.
pub(crate) enum Step {
    Found(Box<ImageManifest>),
    /// This manifest is to be fetched and given to the next step.
    Below(Box<Descriptor>),
}

impl<'a> Chooser<'a> {
    pub(crate) fn new(platform: &'a Platform, image: &'a str) -> Self {
        Self { platform, image, index: None, depth: 0 }
    }

    pub(crate) fn step(&mut self, manifest: Manifest) -> Result<Step, Error> {
        let no_image = |place: String| Error::NotFound { what: "an image".to_owned(), place };
        let view = manifest.view()?;
        match view.kind {
            ManifestKind::Image => {
                Ok(Step::Found(Box::new(ImageManifest { manifest, view, index: self.index.take() })))
            }
            ManifestKind::Index if self.depth == DEEPEST_INDEX => {
                Err(no_image(format!("{}: its indexes lie more than {DEEPEST_INDEX} deep", self.image)))
            }
            ManifestKind::Index => {
                let below = select_platform(&view.manifests, self.platform, self.image)?.clone();
                self.depth += 1;
                self.index.get_or_insert(manifest);
                Ok(Step::Below(Box::new(below)))
            }
            ManifestKind::Opaque => {
                Err(no_image(format!("{}, which is of type {}", self.image, manifest.media_type)))
            }
        }
    }
}

impl Repository {
    async fn manifest_call(
        &self,
        method: Method,
        reference: &Reference,
        scope: Scope,
        verb: &str,
    ) -> Result<Call, Error> {
        let url = self.url(&format!("manifests/{reference}")).await?;
        Ok(self.call(method, url, scope, format!("{verb} manifest {}", self.named(reference))))
    }

    /// `repository:tag` or `repository@digest`, for messages.
    fn named(&self, reference: &Reference) -> String {
        match reference {
            Reference::Tag(tag) => format!("{}:{tag}", self.name),
            Reference::Digest(digest) => format!("{}@{digest}", self.name),
        }
    }

    fn accepting(call: Call, accept: &[MediaType]) -> Result<Call, Error> {
        let list = if accept.is_empty() {
            ACCEPTED.join(", ")
        } else {
            accept.iter().map(MediaType::as_str).collect::<Vec<_>>().join(", ")
        };
        let value = HeaderValue::try_from(list).map_err(|_| Error::Setting {
            setting: "Accept".to_owned(),
            reason: "a media type holds characters that no header may hold".to_owned(),
        })?;
        Ok(call.header(header::ACCEPT, value))
    }

    /// Pulls a manifest. With an empty `accept`, images and indexes of OCI and Docker are asked for.
    ///
    /// # Errors
    /// [`Error::DigestMismatch`] when the bytes are not those of the digest asked for, or not those of the digest
    /// that the registry claims.
    pub async fn manifest(&self, reference: &Reference, accept: &[MediaType]) -> Result<Manifest, Error> {
        let call = self.manifest_call(Method::GET, reference, self.pull_scope(), "pulling").await?;
        let reply = self.expect(&Self::accepting(call, accept)?, &[200]).await?;
        let claimed = reply.digest()?;
        let declared = reply.header(header::CONTENT_TYPE).map(str::to_owned);
        let bytes = reply.bytes(LONGEST_MANIFEST).await?;
        let expected = reference.digest().copied().or(claimed);
        let digest = match expected {
            Some(expected) => Digest::of(expected.algorithm(), &bytes),
            None => Digest::sha256(&bytes),
        };
        if let Some(expected) = expected
            && digest != expected
        {
            return Err(Error::DigestMismatch {
                what: format!("manifest {}", self.named(reference)),
                expected,
                actual: digest,
            });
        }
        let media_type = match declared.as_deref().map(str::parse::<MediaType>) {
            Some(Ok(media_type)) if !is_generic(&media_type) => media_type,
            // Static file servers do not know the type; the manifest itself may.
            _ => ManifestView::parse(&bytes, None)?.media_type,
        };
        Ok(Manifest { bytes, media_type, digest })
    }

    /// Asks for a manifest's descriptor only; `None` when there is no such manifest.
    pub async fn manifest_head(
        &self,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<Option<Descriptor>, Error> {
        let call = self.manifest_call(Method::HEAD, reference, self.pull_scope(), "pulling").await?;
        let reply = self.send(&Self::accepting(call, accept)?).await?;
        match reply.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            _ => return Err(reply.into_error().await),
        }
        let media_type = reply.header(header::CONTENT_TYPE).and_then(|text| text.parse::<MediaType>().ok());
        match (reply.digest()?.or(reference.digest().copied()), media_type, reply.content_length()) {
            (Some(digest), Some(media_type), Some(size)) => {
                Ok(Some(Descriptor::new(media_type, digest, size)))
            }
            // A registry may leave each of these headers out of a HEAD.
            _ => Ok(Some(self.manifest(reference, accept).await?.descriptor())),
        }
    }

    /// Pulls the manifest of an image, choosing out of indexes by platform.
    pub async fn image_manifest(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<ImageManifest, Error> {
        let top = self.manifest(reference, &[]).await?;
        let image = format!("{}/{}", self.host.name, self.named(reference));
        let mut chooser = Chooser::new(platform, &image);
        let mut manifest = top;
        loop {
            match chooser.step(manifest)? {
                Step::Found(image) => return Ok(*image),
                Step::Below(descriptor) => {
                    let accept = std::slice::from_ref(&descriptor.media_type);
                    manifest = self.manifest(&Reference::Digest(descriptor.digest), accept).await?;
                }
            }
        }
    }

    /// Pushes a manifest under a tag or by its digest and checks the digest that the registry answers with.
    pub async fn put_manifest(
        &self,
        reference: &Reference,
        bytes: Bytes,
        media_type: &MediaType,
    ) -> Result<Digest, Error> {
        let digest = match reference {
            Reference::Digest(expected) => {
                let actual = Digest::of(expected.algorithm(), &bytes);
                if actual != *expected {
                    let what = format!("manifest {}", self.named(reference));
                    return Err(Error::DigestMismatch { what, expected: *expected, actual });
                }
                actual
            }
            Reference::Tag(_) => Digest::sha256(&bytes),
        };
        let subject = ManifestView::parse(&bytes, Some(media_type))?.subject;
        let mut call = self.manifest_call(Method::PUT, reference, self.push_scope(), "pushing").await?;
        call.payload = Payload::Bytes(bytes.clone());
        let value = HeaderValue::try_from(media_type.as_str())
            .map_err(|_| Error::reply(&self.host.name, "a media type is no header value"))?;
        let reply = self.expect(&call.header(header::CONTENT_TYPE, value), &[201]).await?;
        let knows_subjects = reply.header(OCI_SUBJECT).is_some();
        match reply.digest()? {
            Some(claimed) => {
                let actual = Digest::of(claimed.algorithm(), &bytes);
                if claimed != actual {
                    let what = format!("the registry's copy of manifest {}", self.named(reference));
                    return Err(Error::DigestMismatch { what, expected: actual, actual: claimed });
                }
                reply.discard().await;
            }
            // No claim to check: look what is there.
            None => {
                reply.discard().await;
                let there = self.manifest(reference, std::slice::from_ref(media_type)).await?;
                if there.bytes != bytes {
                    let what = format!("the registry's copy of manifest {}", self.named(reference));
                    return Err(Error::DigestMismatch { what, expected: digest, actual: there.digest });
                }
            }
        }
        if let Some(subject) = subject
            && !knows_subjects
        {
            let pushed = Manifest { bytes, media_type: media_type.clone(), digest };
            self.add_to_referrers_tag(&subject, &pushed).await?;
        }
        Ok(digest)
    }

    /// Pushes one manifest under several tags, one request each; gives its digest.
    pub async fn put_manifest_tags(
        &self,
        bytes: Bytes,
        media_type: &MediaType,
        tags: &[Tag],
    ) -> Result<Digest, Error> {
        let digest = Digest::sha256(&bytes);
        if tags.is_empty() {
            return self.put_manifest(&Reference::Digest(digest), bytes, media_type).await;
        }
        for tag in tags {
            self.put_manifest(&Reference::Tag(tag.clone()), bytes.clone(), media_type).await?;
        }
        Ok(digest)
    }

    /// Deletes a tag, or a manifest with all its tags. `false` when it was not there.
    pub async fn delete_manifest(&self, reference: &Reference) -> Result<bool, Error> {
        let scope = Scope::delete(&self.name);
        let call = self.manifest_call(Method::DELETE, reference, scope, "deleting").await?;
        let reply = self.send(&call).await?;
        match reply.status().as_u16() {
            200 | 202 | 204 => Ok(true),
            404 => Ok(false),
            _ => Err(reply.into_error().await),
        }
    }
}

fn is_generic(media_type: &MediaType) -> bool {
    matches!(media_type.as_str(), "application/json" | "application/octet-stream" | "text/plain")
}
