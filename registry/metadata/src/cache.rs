//! A read cache that is never stale, bounded by bytes.
//!
//! Content that never changes under its key needs only look-ups and loads. For rows that change: one thread of this
//! process makes every change to what is cached, in three steps: `begin` on the keys that change, commit, `end` on
//! the same keys. A miss registers a load before it reads the database,
//! and stores what it read only if its load is still registered.
//! - `begin` removes the entries and the registered loads of its keys, so what was read before the commit is
//!   neither there nor can it be stored later.
//! - Between `begin` and `end` no load of these keys can be registered, so a read that saw the old or the new row
//!   meanwhile is answered and forgotten.
//! - A load registered after `end` begins to read after the commit and sees it.
//!
//! So at any moment an entry equals the committed row. Keys that do not change are not touched: a stream of
//! pushes does not empty the cache.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hashlink::LinkedHashMap;

/// Locks the keys are spread over, so that readers on several cores seldom meet.
const SHARDS: usize = 8;

/// Values larger than this share of a shard are not kept: one would drive out too many others.
const LARGEST_SHARE: usize = 4;

/// What an entry weighs besides its content: key, links, table slots and the two counters of an `Arc`. In bytes.
const ENTRY_OVERHEAD: usize = 256;

pub(crate) struct ExactCache<K, V> {
    shards: Vec<Mutex<Shard<K, V>>>,
    hasher: RandomState,
    next_load: AtomicU64,
    /// Most bytes in one shard.
    shard_bytes: usize,
    /// Bytes on the heap behind a value.
    content_bytes: fn(&V) -> usize,
}

struct Shard<K, V> {
    /// Least recently used first.
    entries: LinkedHashMap<K, V>,
    bytes: usize,
    /// The youngest load of each key that is being read.
    loads: HashMap<K, u64>,
    changing: HashSet<K>,
}

/// What a look-up found.
pub(crate) enum Lookup<'cache, K: Hash + Eq + Clone, V: Clone> {
    Hit(V),
    Miss(Load<'cache, K, V>),
}

/// A miss whose value is being read. Dropping it without [`Load::finish`] stores nothing.
pub(crate) struct Load<'cache, K: Hash + Eq + Clone, V: Clone> {
    cache: &'cache ExactCache<K, V>,
    key: K,
    /// `None` while the key is changing.
    number: Option<u64>,
}

impl<K: Hash + Eq + Clone, V: Clone> ExactCache<K, V> {
    /// A cache of at most `bytes`; with zero it keeps nothing.
    pub(crate) fn new(bytes: usize, content_bytes: fn(&V) -> usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                entries: LinkedHashMap::new(),
                bytes: 0,
                loads: HashMap::new(),
                changing: HashSet::new(),
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            next_load: AtomicU64::new(0),
            shard_bytes: bytes / SHARDS,
            content_bytes,
        }
    }

    /// The value, or a registered load: read the database after this call, not before.
    pub(crate) fn look_up(&self, key: K) -> Lookup<'_, K, V> {
        let mut shard = self.shard(&key);
        if let Some(value) = shard.entries.to_back(&key) {
            return Lookup::Hit(value.clone());
        }
        let number = (self.shard_bytes > 0 && !shard.changing.contains(&key)).then(|| {
            let number = self.next_load.fetch_add(1, Ordering::Relaxed);
            // An older load of the same key is superseded: it answers its reader and stores nothing.
            shard.loads.insert(key.clone(), number);
            number
        });
        drop(shard);
        Lookup::Miss(Load { cache: self, key, number })
    }

    /// To be called before a change of `keys` commits; [`Self::end`] must follow whether or not it does.
    pub(crate) fn begin(&self, keys: &[K]) {
        for key in keys {
            let mut shard = self.shard(key);
            if let Some(value) = shard.entries.remove(key) {
                shard.bytes -= self.weight(&value);
            }
            shard.loads.remove(key);
            shard.changing.insert(key.clone());
        }
    }

    pub(crate) fn end(&self, keys: &[K]) {
        for key in keys {
            self.shard(key).changing.remove(key);
        }
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, Shard<K, V>> {
        let index = self.hasher.hash_one(key) as usize % self.shards.len();
        // A shard is whole whenever its lock is free: nothing between lock and unlock can panic half-way.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weight(&self, value: &V) -> usize {
        ENTRY_OVERHEAD + (self.content_bytes)(value)
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().bytes).sum()
    }

    #[cfg(test)]
    fn peek(&self, key: &K) -> Option<V> {
        self.shard(key).entries.get(key).cloned()
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Load<'_, K, V> {
    /// Stores what was read, unless it may be stale by now.
    pub(crate) fn finish(self, value: V) {
        let weight = self.cache.weight(&value);
        if weight > self.cache.shard_bytes / LARGEST_SHARE {
            return;
        }
        let mut shard = self.cache.shard(&self.key);
        if self.number.is_none() || shard.loads.get(&self.key) != self.number.as_ref() {
            return;
        }
        shard.bytes += weight;
        if let Some(replaced) = shard.entries.insert(self.key.clone(), value) {
            shard.bytes -= self.cache.weight(&replaced);
        }
        while shard.bytes > self.cache.shard_bytes {
            let Some((_, oldest)) = shard.entries.pop_front() else { break };
            shard.bytes -= self.cache.weight(&oldest);
        }
        // The lock goes before the load's own drop takes it again.
        drop(shard);
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Drop for Load<'_, K, V> {
    /// Ends the registration, also when the reader was cancelled: `loads` holds only reads in flight.
    fn drop(&mut self) {
        if self.number.is_some() {
            let mut shard = self.cache.shard(&self.key);
            if shard.loads.get(&self.key) == self.number.as_ref() {
                shard.loads.remove(&self.key);
            }
        }
    }
}

impl<K, V> std::fmt::Debug for ExactCache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExactCache").field("shard_bytes", &self.shard_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;
