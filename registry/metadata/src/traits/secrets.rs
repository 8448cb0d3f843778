//! Secrets that all replicas share, such as the keys that tokens are signed with. Who reads the database can read them.
//! They are not rows of an export: another engine may keep them elsewhere.

use std::future::Future;

use super::Answer;

pub trait SecretMetadata: Clone + Send + Sync + 'static {
    fn secret(&self, name: &str) -> impl Future<Output = Answer<Option<String>>> + Send;

    /// Stores `value` if the secret is still `before` (`None`: there is none). False: it is another one, which stays.
    fn put_secret(
        &self,
        name: &str,
        before: Option<&str>,
        value: &str,
    ) -> impl Future<Output = Answer<bool>> + Send;
}
