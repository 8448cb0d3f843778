//! Tag rules applied to pushes and deletes of manifests.

use registry_auth::{Delete, Grant, Identity, Push};
use registry_blobs::BlobStore;
use registry_metadata::{Metadata, MetadataError};
use registry_types::{Action, Digest, Reference, RepositoryName, Tag};

use crate::{Authority, CoreError, Registry, Requester, TagRules};

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// Lets a push of these tags pass, and tells which of them must stay on what they name.
    ///
    /// # Errors
    /// [`CoreError::TagProtected`]
    pub(crate) async fn admit_tags(&self, grant: &Grant<Push>, tags: &[Tag]) -> Result<Vec<Tag>, CoreError> {
        let rules = self.effective_tag_rules().await?;
        let repository = grant.repository();
        if !rules.concern(repository) {
            return Ok(Vec::new());
        }
        for tag in tags {
            self.admit_tag(&rules, repository, tag, Action::Push, grant.identity()).await?;
        }
        Ok(tags.iter().filter(|tag| rules.immutable(repository, tag).is_some()).cloned().collect())
    }

    /// Lets the deletion of a tag, or of a manifest with all its tags, pass.
    ///
    /// # Errors
    /// [`CoreError::TagProtected`] and [`CoreError::TagImmutable`]
    pub(crate) async fn admit_deletion(
        &self,
        grant: &Grant<Delete>,
        reference: &Reference,
    ) -> Result<(), CoreError> {
        let rules = self.effective_tag_rules().await?;
        let repository = grant.repository();
        if !rules.concern(repository) {
            return Ok(());
        }
        match reference {
            Reference::Tag(tag) => {
                self.admit_tag(&rules, repository, tag, Action::Delete, grant.identity()).await
            }
            Reference::Digest(digest) => {
                for tag in self.tags_on(repository, digest).await? {
                    self.admit_tag(&rules, repository, &tag, Action::Delete, grant.identity()).await?;
                }
                Ok(())
            }
        }
    }

    /// Says by which rule a tag stayed on what it names.
    pub(crate) async fn name_rule<T>(
        &self,
        grant: &Grant<Push>,
        stored: Result<T, MetadataError>,
    ) -> Result<T, CoreError> {
        let Err(MetadataError::TagImmutable { tag }) = stored else { return Ok(stored?) };
        let rules = self.effective_tag_rules().await?;
        let repository = grant.repository().clone();
        // A rule that has just been removed did hold the tag when it was asked.
        let rule = rules
            .immutable(&repository, &tag)
            .map_or_else(|| "a tag rule held it".to_owned(), |rule| rule.to_string());
        Err(CoreError::TagImmutable { repository, tag, action: Action::Push, rule })
    }

    async fn effective_tag_rules(&self) -> Result<TagRules, CoreError> {
        Ok(TagRules::new(self.limits.tag_rules.clone(), self.metadata.tag_rules().await?))
    }

    async fn admit_tag(
        &self,
        rules: &TagRules,
        repository: &RepositoryName,
        tag: &Tag,
        action: Action,
        identity: &Identity,
    ) -> Result<(), CoreError> {
        let mut requester = Requester::of(identity);
        if rules.refusal(repository, tag, action, &requester).is_none() {
            return Ok(());
        }
        // Only now: most pushes meet no protected tag, and need not look their account up.
        if let (Authority::Accounts, Some(name)) = (self.limits.authority, &requester.account) {
            requester.admin = self.metadata.account(name).await?.is_some_and(|account| account.admin);
        }
        let Some(refusal) = rules.refusal(repository, tag, action, &requester) else { return Ok(()) };
        let (repository, tag, rule) = (repository.clone(), tag.clone(), refusal.to_string());
        Err(if refusal.is_immutable() {
            CoreError::TagImmutable { repository, tag, action, rule }
        } else {
            CoreError::TagProtected { repository, tag, action, rule }
        })
    }

    async fn tags_on(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, CoreError> {
        Ok(self.metadata.tags_of(repository, digest).await?)
    }
}
