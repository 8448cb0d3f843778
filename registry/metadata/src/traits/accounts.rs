//! Accounts and access rules.

use std::{future::Future, sync::Arc};

use registry_types::{AccessRule, AccountName};

use super::Answer;
use crate::{AccountRecord, RuleRecord};

pub trait AccountMetadata: Clone + Send + Sync + 'static {
    fn account(&self, name: &AccountName) -> impl Future<Output = Answer<Option<AccountRecord>>> + Send;

    fn accounts(&self) -> impl Future<Output = Answer<Vec<AccountRecord>>> + Send;

    /// Stores an account; with `replace` an account of that name is replaced.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::MetadataError::AlreadyExists) without `replace`.
    fn put_account(&self, account: &AccountRecord, replace: bool) -> impl Future<Output = Answer<()>> + Send;

    /// Removes the account and the rules for it; false when there was none.
    fn delete_account(&self, name: &AccountName) -> impl Future<Output = Answer<bool>> + Send;

    fn rules(&self) -> impl Future<Output = Answer<Arc<Vec<RuleRecord>>>> + Send;

    fn add_rule(&self, rule: &AccessRule) -> impl Future<Output = Answer<RuleRecord>> + Send;

    fn delete_rule(&self, id: i64) -> impl Future<Output = Answer<bool>> + Send;
}
