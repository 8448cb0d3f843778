//! Tag rules, retention policies, quotas, and the times of pulls that retention asks for.

use std::{future::Future, sync::Arc};

use registry_types::{Digest, PathPrefix, RepositoryName};
use time::OffsetDateTime;

use super::Answer;
use crate::{NewRetention, QuotaRecord, RetentionRecord, TagRule, TagRuleRecord};

pub trait PolicyMetadata: Clone + Send + Sync + 'static {
    /// Every tag rule in the order they were added. Cheap: asked with each push and delete.
    fn tag_rules(&self) -> impl Future<Output = Answer<Arc<Vec<TagRuleRecord>>>> + Send;

    fn add_tag_rule(&self, rule: &TagRule) -> impl Future<Output = Answer<TagRuleRecord>> + Send;

    fn delete_tag_rule(&self, id: i64) -> impl Future<Output = Answer<bool>> + Send;

    /// Every retention policy in the order they were added.
    fn retentions(&self) -> impl Future<Output = Answer<Vec<RetentionRecord>>> + Send;

    fn add_retention(&self, policy: &NewRetention) -> impl Future<Output = Answer<RetentionRecord>> + Send;

    fn delete_retention(&self, id: i64) -> impl Future<Output = Answer<bool>> + Send;

    /// Begins a run of the policy at `now`, unless one began since `last` (of several replicas one runs it).
    fn start_retention(
        &self,
        id: i64,
        last: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Every quota, by prefix.
    fn quotas(&self) -> impl Future<Output = Answer<Vec<QuotaRecord>>> + Send;

    /// Sets the limit for `prefix`. A new quota first counts what is there, which takes time with the number of
    /// blobs under the prefix. What is there already may be over the limit: then nothing more is taken.
    fn set_quota(
        &self,
        prefix: &PathPrefix,
        limit_bytes: u64,
    ) -> impl Future<Output = Answer<QuotaRecord>> + Send;

    fn delete_quota(&self, id: i64) -> impl Future<Output = Answer<bool>> + Send;

    /// Bytes that may still be linked to the repository; `None` when no quota covers it. For refusing an upload
    /// before it is stored: what decides is counted when the blob is linked.
    fn quota_room(&self, repository: &RepositoryName) -> impl Future<Output = Answer<Option<u64>>> + Send;

    /// Records when manifests were pulled, in one transaction. A manifest that is gone is passed over, an earlier
    /// time than the one recorded too.
    fn record_pulls(
        &self,
        pulls: &[(RepositoryName, Digest, OffsetDateTime)],
    ) -> impl Future<Output = Answer<()>> + Send;
}
