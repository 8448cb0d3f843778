//! The token cache: one slot per registry, realm, service and scope set. Requests that need the same token wait
//! for one fetch; a token is renewed before it expires, or when the registry refuses it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderValue;
use url::Url;

use super::ScopeSet;
use crate::Error;

/// A token's life when the server names none (distribution's token specification).
pub(crate) const DEFAULT_LIFE: Duration = Duration::from_secs(60);

/// How long before its end a token is no longer used: a request may be under way for a while. Never more than
/// a quarter of its life.
const RENEWAL_MARGIN: Duration = Duration::from_secs(10);

/// Most slots kept; beyond it, slots with expired tokens go. A client talks to few repositories at a time.
const MOST_SLOTS: usize = 256;

/// How a registry wants to be authorized.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// It asked for nothing.
    Open,
    /// User and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer { realm: Url, service: Option<String> },
}

/// An `Authorization` header and its end.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) expires: Option<Instant>,
    /// Where the login behind it was found; `None` for an anonymous token.
    pub(crate) place: Option<String>,
}

impl Token {
    /// A token that the server says lives for `life`.
    pub(crate) fn living(header: HeaderValue, life: Duration, place: Option<String>) -> Self {
        let margin = RENEWAL_MARGIN.min(life / 4);
        Self { header, expires: Instant::now().checked_add(life.saturating_sub(margin)), place }
    }

    fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    host: String,
    mode: Mode,
    scopes: ScopeSet,
}

type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    slots: Mutex<HashMap<Key, Slot>>,
}

impl TokenCache {
    fn slot(&self, host: &str, mode: &Mode, scopes: &ScopeSet) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST_SLOTS {
            // A slot that is locked is being filled: keep it.
            slots.retain(|_, slot| {
                slot.try_lock().map_or(true, |token| token.as_ref().is_some_and(Token::is_fresh))
            });
        }
        let key = Key { host: host.to_owned(), mode: mode.clone(), scopes: scopes.clone() };
        Arc::clone(slots.entry(key).or_default())
    }

    /// The cached token, or the one `fetch` brings, which runs only then. `refused` is a token that the registry no longer takes.
    pub(crate) async fn get(
        &self,
        host: &str,
        mode: &Mode,
        scopes: &ScopeSet,
        refused: Option<&HeaderValue>,
        fetch: impl Future<Output = Result<Option<Token>, Error>>,
    ) -> Result<Option<Token>, Error> {
        let slot = self.slot(host, mode, scopes);
        // An asynchronous lock, held over the fetch on purpose: this is what makes the others wait for it.
        let mut held = slot.lock().await;
        if let Some(token) = &*held
            && token.is_fresh()
            && refused != Some(&token.header)
        {
            return Ok(Some(token.clone()));
        }
        *held = None;
        let fetched = fetch.await?;
        held.clone_from(&fetched);
        Ok(fetched)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn token(text: &'static str, life: u64) -> Token {
        Token::living(HeaderValue::from_static(text), Duration::from_secs(life), None)
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_fetch() {
        let (cache, fetches) = (TokenCache::default(), AtomicUsize::new(0));
        let get = || {
            cache.get("h", &Mode::Basic, const { &ScopeSet::EMPTY }, None, async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(Some(token("t", 60)))
            })
        };
        let answers = futures_util::future::join_all((0..20).map(|_| get())).await;
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap().as_ref().unwrap().header == "t"));
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_refused_or_expired_token_is_fetched_again() {
        let cache = TokenCache::default();
        let scopes = ScopeSet::default();
        let get = async |refused: Option<&'static str>, next: Token| {
            let refused = refused.map(HeaderValue::from_static);
            let token = cache
                .get("h", &Mode::Basic, &scopes, refused.as_ref(), async move { Ok(Some(next)) })
                .await
                .unwrap();
            token.unwrap().header
        };
        assert_eq!(get(None, token("one", 0)).await, "one");
        assert_eq!(get(None, token("two", 60)).await, "two", "the first was expired");
        assert_eq!(get(None, token("three", 60)).await, "two");
        assert_eq!(get(Some("two"), token("three", 60)).await, "three");
        // Somebody else has renewed it meanwhile: take theirs.
        assert_eq!(get(Some("two"), token("four", 60)).await, "three");
    }

    #[test]
    fn printing_a_token_shows_nothing_of_it() {
        assert!(!format!("{:?}", token("hunter2", 1)).contains("hunter2"));
    }
}
