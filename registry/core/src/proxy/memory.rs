//! A bounded memory: what was used longest ago is forgotten first.

use std::{
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hashlink::LruCache;

pub(crate) struct Memory<K, V>(Mutex<LruCache<K, V>>);

impl<K: Eq + Hash, V: Clone> Memory<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self(Mutex::new(LruCache::new(most)))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<K, V>> {
        // Each change is one call, so a panicking holder leaves the memory whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.lock().get(key).cloned()
    }

    pub(crate) fn put(&self, key: K, value: V) {
        self.lock().insert(key, value);
    }

    pub(crate) fn take(&self, key: &K) -> Option<V> {
        self.lock().remove(key)
    }

    /// Remembers `value`; gives what had to be forgotten for it.
    pub(crate) fn put_for(&self, key: K, value: V) -> Option<(K, V)> {
        let mut memory = self.lock();
        let full = memory.len() >= memory.capacity() && !memory.contains_key(&key);
        let forgotten = if full { memory.remove_lru() } else { None };
        memory.insert(key, value);
        forgotten
    }
}

impl<K, V> fmt::Debug for Memory<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let memory = Memory::new(2);
        assert_eq!(memory.put_for(1, 'a'), None);
        assert_eq!(memory.put_for(2, 'b'), None);
        assert_eq!(memory.put_for(2, 'c'), None);
        assert_eq!(memory.get(&1), Some('a'));
        assert_eq!(memory.put_for(3, 'd'), Some((2, 'c')));
        memory.put(4, 'e');
        assert_eq!((memory.get(&1), memory.take(&3), memory.get(&3)), (None, Some('d'), None));
    }
}
