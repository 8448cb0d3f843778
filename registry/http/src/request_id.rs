//! The name of one request in answers and logs. A trusted proxy's own is kept, so that its log and ours can be laid
//! side by side; anybody else would write into ours.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that is taken from a proxy, in bytes: a UUID, a trace id and their like.
const LONGEST: usize = 64;

/// Keys from the system's randomness, new for each process.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The one that a proxy gave, if it is well formed, else a new one.
    pub(crate) fn of_proxy(headers: &HeaderMap) -> Self {
        let given = headers.get(X_REQUEST_ID).filter(|value| {
            let well_formed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            !value.is_empty() && value.len() <= LONGEST && value.as_bytes().iter().all(well_formed)
        });
        given.map_or_else(Self::random, |value| Self(value.clone()))
    }

    /// 128 bits that no other request has, of this process or another. Two keyed hashes of a counter cost no system
    /// call, and an id is no secret.
    pub(crate) fn random() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}{:016x}", KEYS.hash_one((number, 0_u8)), KEYS.hash_one((number, 1_u8)));
        Self(HeaderValue::try_from(text).expect("hexadecimal digits may stand in a header"))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_ids_are_taken() {
        let taken = |given: &str| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_str(given).unwrap())]);
            RequestId::of_proxy(&headers).to_string() == given
        };
        let longest = "a".repeat(LONGEST);
        for good in ["0af7651916cd43dd8448eb211c80319c", "Root_1-67.a", &longest] {
            assert!(taken(good), "{good} was not taken");
        }
        for bad in ["", "a b", "a\"b", "a=b", &format!("{longest}a")] {
            assert!(!taken(bad), "{bad} was taken");
        }
    }

    #[test]
    fn no_two_requests_share_an_id() {
        let ids: std::collections::HashSet<String> =
            (0..10_000).map(|_| RequestId::random().to_string()).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
