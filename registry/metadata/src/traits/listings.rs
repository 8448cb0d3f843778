//! Lists by name, page by page.

use std::future::Future;

use registry_types::{RepositoryName, Tag};

use super::Answer;
use crate::{Page, PageRequest, TagRecord};

pub trait ListingMetadata: Clone + Send + Sync + 'static {
    /// Tags in byte order; `None` when the repository is unknown.
    fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> impl Future<Output = Answer<Option<Page<Tag>>>> + Send;

    /// Tags with digest, size, push and pull time, in byte order; `None` when the repository is unknown.
    fn tag_records(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> impl Future<Output = Answer<Option<Page<TagRecord>>>> + Send;

    /// Repositories in byte order.
    fn repositories(&self, page: &PageRequest) -> impl Future<Output = Answer<Page<RepositoryName>>> + Send;
}
