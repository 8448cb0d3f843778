//! Accounts and rules as the token server and the command line need them.

use std::sync::Arc;

use registry_blobs::BlobStore;
use registry_metadata::{AccountRecord, Metadata, RuleRecord};
use registry_types::AccountName;

use crate::{CoreError, Registry};

impl<M: Metadata, B: BlobStore> Registry<M, B> {
    /// The account, for checking a password. Knowing a name gives no right: no grant is asked for.
    pub async fn account(&self, name: &AccountName) -> Result<Option<AccountRecord>, CoreError> {
        Ok(self.metadata.account(name).await?)
    }

    /// Every access rule.
    pub async fn rules(&self) -> Result<Arc<Vec<RuleRecord>>, CoreError> {
        Ok(self.metadata.rules().await?)
    }
}
