//! Lists: tags, repositories, referrers; page by page as the registry gives them.

use bytes::Bytes;
use http::{Method, header};
use registry_types::{Descriptor, Digest, MediaType, Reference, RegistryHost, RepositoryName, Tag};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    Client, Error, Manifest, Repository,
    auth::{Scope, ScopeSet},
    link::next_target,
    reply::Reply,
    request::Call,
    transport::same_origin,
};

/// Longest page that is read, in bytes: 10,000 long names fit.
const LONGEST_PAGE: u64 = 16 << 20;

/// Most pages followed for one list. A registry that always names a next page would never end.
const MOST_PAGES: usize = 100_000;

/// Repositories asked for at once where all are wanted: distribution gives 100 unless told otherwise.
const CATALOG_PAGE: u32 = 1000;

/// How often an update of a referrers tag is tried against others who write it at the same time.
const REFERRERS_TRIES: usize = 5;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<Url>,
}

#[derive(Deserialize)]
struct Tags {
    // GitLab and distribution say null where there is none.
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Repositories {
    repositories: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
}

/// The page behind an answer; a next page elsewhere would carry our token there, so it is refused.
fn next_page(reply: &Reply) -> Result<Option<Url>, Error> {
    let Some(target) = reply.header(header::LINK).and_then(next_target) else { return Ok(None) };
    let next = reply
        .url
        .join(target)
        .map_err(|error| Error::reply(&reply.host, format!("its Link is not a URL: {error}")))?;
    // Behind a proxy that hides TLS the scheme may be wrong; host and path are what counts.
    let mut next = next;
    if next.host_str() == reply.url.host_str() && !same_origin(&next, &reply.url) {
        let _ = next.set_scheme(reply.url.scheme());
        let _ = next.set_port(reply.url.port());
    }
    if !same_origin(&next, &reply.url) {
        return Err(Error::reply(&reply.host, "its Link points to another host"));
    }
    Ok(Some(next))
}

async fn read_json<T: for<'de> Deserialize<'de>>(reply: Reply) -> Result<T, Error> {
    let (host, action) = (reply.host.clone(), reply.action.clone());
    let body = reply.bytes(LONGEST_PAGE).await?;
    serde_json::from_slice(&body).map_err(|error| {
        Error::reply(host, format!("its answer to {action} is not the JSON of the specification: {error}"))
    })
}

fn query(url: &mut Url, count: Option<u32>, last: Option<&str>) {
    if count.is_none() && last.is_none() {
        return;
    }
    let mut pairs = url.query_pairs_mut();
    if let Some(count) = count {
        pairs.append_pair("n", &count.to_string());
    }
    if let Some(last) = last {
        pairs.append_pair("last", last);
    }
}

impl Client {
    /// One page of the registry's repositories: at most `count`, behind the name `last`.
    pub async fn catalog(
        &self,
        host: &RegistryHost,
        count: Option<u32>,
        last: Option<&RepositoryName>,
    ) -> Result<Page<RepositoryName>, Error> {
        let known = self.inner.host(host);
        let mut url = self
            .inner
            .base(&known)
            .await?
            .join("_catalog")
            .map_err(|error| Error::reply(host, error.to_string()))?;
        query(&mut url, count, last.map(RepositoryName::as_str));
        self.catalog_page(host, url).await
    }

    /// The page that an earlier one named as next.
    pub async fn catalog_page(&self, host: &RegistryHost, url: Url) -> Result<Page<RepositoryName>, Error> {
        let known = self.inner.host(host);
        let scopes = ScopeSet::from(Scope::catalog());
        let call = Call::new(Method::GET, url, scopes, "listing the catalog".to_owned());
        let reply = self.inner.send(&known, &call).await?;
        if reply.status() != http::StatusCode::OK {
            return Err(reply.into_error().await);
        }
        let next = next_page(&reply)?;
        let names: Repositories = read_json(reply).await?;
        let items = names.repositories.unwrap_or_default();
        Ok(Page { items: items.iter().map(|name| name.parse()).collect::<Result<_, _>>()?, next })
    }
}

impl Client {
    /// Every repository of the registry that this login may see, over all pages.
    pub async fn all_repositories(&self, host: &RegistryHost) -> Result<Vec<RepositoryName>, Error> {
        let mut page = self.catalog(host, Some(CATALOG_PAGE), None).await?;
        let mut names = std::mem::take(&mut page.items);
        for _ in 0..MOST_PAGES {
            let Some(next) = page.next.take() else { return Ok(names) };
            page = self.catalog_page(host, next).await?;
            names.append(&mut page.items);
        }
        Err(Error::reply(host, "its catalog never ends"))
    }
}

impl Repository {
    /// One page of tags: at most `count`, behind the tag `last`.
    pub async fn tags(&self, count: Option<u32>, last: Option<&Tag>) -> Result<Page<Tag>, Error> {
        let mut url = self.url("tags/list").await?;
        query(&mut url, count, last.map(Tag::as_str));
        self.tags_page(url).await
    }

    /// The page that an earlier one named as next.
    pub async fn tags_page(&self, url: Url) -> Result<Page<Tag>, Error> {
        let call = self.call(Method::GET, url, self.pull_scope(), format!("listing tags of {}", self.name));
        let reply = self.expect(&call, &[200]).await?;
        let next = next_page(&reply)?;
        let tags: Tags = read_json(reply).await?;
        let items = tags.tags.unwrap_or_default();
        Ok(Page { items: items.iter().map(|tag| tag.parse()).collect::<Result<_, _>>()?, next })
    }

    /// Every tag, over all pages.
    pub async fn all_tags(&self) -> Result<Vec<Tag>, Error> {
        let mut page = self.tags(None, None).await?;
        let mut tags = std::mem::take(&mut page.items);
        for _ in 0..MOST_PAGES {
            let Some(next) = page.next.take() else { return Ok(tags) };
            page = self.tags_page(next).await?;
            tags.append(&mut page.items);
        }
        Err(Error::reply(&self.host.name, "its list of tags never ends"))
    }

    /// What refers to `digest`: signatures, attestations, bills of material. With `artifact_type`, only those.
    /// Registries without the referrers API are read by its tag schema.
    pub async fn referrers(
        &self,
        digest: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut url = self.url(&format!("referrers/{digest}")).await?;
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted.as_str());
        }
        let mut found = Vec::new();
        let mut next = Some(url);
        for page in 0..MOST_PAGES {
            let Some(url) = next.take() else { break };
            let action = format!("listing referrers of {}@{digest}", self.name);
            let reply = self.send(&self.call(Method::GET, url, self.pull_scope(), action)).await?;
            match reply.status().as_u16() {
                200 => {
                    next = next_page(&reply)?;
                    let index: Index = read_json(reply).await?;
                    found.extend(index.manifests.unwrap_or_default());
                }
                // A registry with the API answers 200 and an empty list: this one does not have it.
                404 if page == 0 => {
                    reply.discard().await;
                    found = self.referrers_by_tag(digest).await?.unwrap_or_default();
                }
                _ => return Err(reply.into_error().await),
            }
        }
        // The registry may or may not have filtered.
        found.retain(|referrer| {
            artifact_type.is_none_or(|wanted| referrer.artifact_type.as_ref() == Some(wanted))
        });
        Ok(found)
    }

    async fn referrers_by_tag(&self, digest: &Digest) -> Result<Option<Vec<Descriptor>>, Error> {
        let reference = Reference::Tag(referrers_tag(digest)?);
        match self.manifest(&reference, &[MediaType::known(MediaType::OCI_INDEX)]).await {
            Ok(manifest) => Ok(Some(manifest.view()?.manifests)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the referrers tag for a registry without the API (distribution specification, "Backwards
    /// Compatibility", "Unavailable Referrers API"). The tag has no compare-and-set: the entry is looked for
    /// afterwards and added again if another writer has overwritten it.
    pub(crate) async fn add_to_referrers_tag(
        &self,
        subject: &Descriptor,
        referrer: &Manifest,
    ) -> Result<(), Error> {
        let tag = Reference::Tag(referrers_tag(&subject.digest)?);
        let view = referrer.view()?;
        let mut entry = referrer.descriptor();
        entry.artifact_type = view.effective_artifact_type().cloned();
        entry.annotations = Some(view.annotations).filter(|annotations| !annotations.is_empty());
        let index_type = MediaType::known(MediaType::OCI_INDEX);
        for _ in 0..REFERRERS_TRIES {
            let mut manifests = self.referrers_by_tag(&subject.digest).await?.unwrap_or_default();
            if manifests.iter().any(|known| known.digest == entry.digest) {
                return Ok(());
            }
            manifests.push(entry.clone());
            let index = Index {
                schema_version: 2,
                media_type: Some(MediaType::OCI_INDEX.to_owned()),
                manifests: Some(manifests),
            };
            let bytes = serde_json::to_vec(&index)
                .map_err(|error| Error::reply(&self.host.name, format!("the referrers index: {error}")))?;
            // An index has no subject, so this goes exactly one level deep.
            Box::pin(self.put_manifest(&tag, Bytes::from(bytes), &index_type)).await?;
        }
        match self.referrers_by_tag(&subject.digest).await? {
            Some(manifests) if manifests.iter().any(|known| known.digest == entry.digest) => Ok(()),
            _ => Err(Error::reply(
                &self.host.name,
                format!("the tag {tag} is overwritten by others each time a referrer is added"),
            )),
        }
    }

    /// Deletes a blob. `false` when it was not there.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let url = self.url(&format!("blobs/{digest}")).await?;
        let action = format!("deleting blob {digest} of {}", self.name);
        let reply = self.send(&self.call(Method::DELETE, url, Scope::delete(&self.name), action)).await?;
        match reply.status().as_u16() {
            200 | 202 | 204 => Ok(true),
            404 => Ok(false),
            _ => Err(reply.into_error().await),
        }
    }
}

/// Longest digits of a digest in a referrers tag: all of SHA-256's, half of SHA-512's.
const REFERRERS_TAG_DIGITS: usize = 64;

/// `sha256-<hex>`, with at most 64 digits (distribution specification, "Referrers Tag Schema").
pub(crate) fn referrers_tag(digest: &Digest) -> Result<Tag, Error> {
    Ok(format!("{}-{:.REFERRERS_TAG_DIGITS$}", digest.algorithm(), digest.hex()).parse()?)
}
