//! One value for each key that somebody is using right now. It is gone when its last user is.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError, Weak},
};

#[derive(Debug)]
pub(crate) struct Slots<K, T> {
    slots: Arc<Mutex<HashMap<K, Weak<T>>>>,
}

impl<K: Hash + Eq, T: Default> Slots<K, T> {
    /// The value of `key`, shared with everybody who has it.
    pub(crate) fn slot(&self, key: K) -> Arc<T> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&key).and_then(Weak::upgrade) {
            return slot;
        }
        // Entries of ended users are swept here, so the map is never larger than the keys in use.
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(T::default());
        slots.insert(key, Arc::downgrade(&slot));
        slot
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl<K, T> Clone for Slots<K, T> {
    fn clone(&self) -> Self {
        Self { slots: Arc::clone(&self.slots) }
    }
}

impl<K, T> Default for Slots<K, T> {
    fn default() -> Self {
        Self { slots: Arc::default() }
    }
}
