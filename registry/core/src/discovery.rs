//! Lists: tags, repositories, referrers. Each is one query for one page.

use registry_auth::{CatalogGrant, Grant, Pull};
use registry_blobs::BlobStore;
use registry_metadata::{Metadata, Page, PageRequest, Referrer};
use registry_types::{Digest, MediaType, RepositoryName, Tag};

use crate::{CoreError, Registry};

/// Most entries of one page. Larger pages gain nothing and a client could ask for everything at once.
pub const LARGEST_PAGE: usize = 10_000;
/// Entries of a page when the client does not say: what the distribution registry sends.
const USUAL_PAGE: usize = 1_000;

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
    /// Tags of the grant's repository in byte order. Without `n` the whole list, as the specification has it.
    ///
    /// # Errors
    /// [`CoreError::RepositoryUnknown`] when nothing was ever pushed to it.
    pub async fn tags(&self, grant: &Grant<Pull>, query: PageQuery) -> Result<Page<Tag>, CoreError> {
        let page = self.metadata.tags(grant.repository(), &query.request()).await?;
        page.ok_or_else(|| CoreError::RepositoryUnknown { repository: grant.repository().clone() })
    }

    /// Repositories in byte order.
    pub async fn catalog(
        &self,
        _grant: &CatalogGrant,
        query: PageQuery,
    ) -> Result<Page<RepositoryName>, CoreError> {
        Ok(self.metadata.repositories(&query.request()).await?)
    }

    /// Manifests that name `subject`; empty when there are none, whether or not the subject exists.
    pub async fn referrers(
        &self,
        grant: &Grant<Pull>,
        subject: &Digest,
        artifact_type: Option<&MediaType>,
    ) -> Result<Vec<Referrer>, CoreError> {
        Ok(self.metadata.referrers(grant.repository(), subject, artifact_type).await?)
    }
}
