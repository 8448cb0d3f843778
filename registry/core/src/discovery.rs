//! Lists: tags, repositories, referrers. Each is one query for one page.

use registry_auth::{CatalogGrant, Grant, Pull};
use registry_blobs::BlobStore;
use registry_metadata::{Metadata, Page, PageRequest, Referrer, ReferrerMarker, ReferrersRequest};
use registry_types::{Digest, MediaType, RepositoryName, Tag};

use crate::{CoreError, Registry};

/// Most entries of one page. Larger pages gain nothing and a client could ask for everything at once.
pub const LARGEST_PAGE: usize = 10_000;
/// Entries of a page when the client does not say: what the distribution registry sends. The specification speaks of
/// the whole list then and demands it nowhere; it lets a list go on behind a `Link`, which clients follow. The whole
/// of 100,000 tags would be megabytes for each who asks.
const USUAL_PAGE: usize = 1_000;
/// Most entries of one page of referrers. Each is a descriptor, some 400 bytes without annotations.
const LARGEST_REFERRERS_PAGE: usize = 1_000;
/// Bytes at which a page of referrers ends. Entries carry the whole annotations of their manifests, as the
/// specification demands, so without it one small request would gather gigabytes. A manifest is not refused for
/// long annotations: a page always has one entry, and that is no longer than a manifest may be, 4 MiB unless
/// configured. So a page is never longer than the larger of the two.
const REFERRERS_PAGE_BYTES: usize = 4 << 20;

/// `n` and `last` of a request.
#[derive(Debug, Clone, Default)]
pub struct PageQuery {
    pub n: Option<usize>,
    pub last: Option<String>,
}

impl PageQuery {
    fn request(self) -> PageRequest {
        PageRequest { after: self.last, limit: self.n.unwrap_or(USUAL_PAGE).min(LARGEST_PAGE) }
    }
}

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// A page of the tags of the grant's repository in byte order (distribution specification, "Listing Tags"):
    /// `query.n` entries, 1,000 when it does not say, and never more than [`LARGEST_PAGE`].
    ///
    /// # Errors
    /// [`CoreError::RepositoryUnknown`] when nothing was ever pushed to it.
    pub async fn tags(&self, grant: &Grant<Pull>, query: PageQuery) -> Result<Page<Tag>, CoreError> {
        let page = self.metadata.tags(grant.repository(), &query.request()).await?;
        page.ok_or_else(|| CoreError::RepositoryUnknown { repository: grant.repository().clone() })
    }

    /// A page of the repositories in byte order, as long as one of tags.
    pub async fn catalog(
        &self,
        _grant: &CatalogGrant,
        query: PageQuery,
    ) -> Result<Page<RepositoryName>, CoreError> {
        Ok(self.metadata.repositories(&query.request()).await?)
    }

    /// A page of the manifests that name `subject`, oldest first and behind `after`; empty when there are none,
    /// whether or not the subject exists. `n`: how many at most; the page may be shorter and is never empty
    /// while entries follow.
    pub async fn referrers(
        &self,
        grant: &Grant<Pull>,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
        (n, after): (Option<usize>, Option<ReferrerMarker>),
    ) -> Result<Page<Referrer>, CoreError> {
        let entries = n.unwrap_or(LARGEST_REFERRERS_PAGE).min(LARGEST_REFERRERS_PAGE);
        let page = ReferrersRequest { after, entries, bytes: REFERRERS_PAGE_BYTES };
        Ok(self.metadata.referrers(grant.repository(), subject, artifact_type, &page).await?)
    }
}
