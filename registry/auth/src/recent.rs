//! A map that remembers recent entries and never holds more than its bound. Old entries go without a scan, so
//! an insertion costs the same however full it is.

use std::{collections::HashMap, hash::Hash, mem};

/// Two generations of half the bound each. Entries are written to the young one; when that is full it becomes
/// the old one and the former old one is dropped. What is used while old moves back to the young, so what is
/// in use stays and memory is bounded, as with a list by last use but without one.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    half: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// A map of at most `bound` entries, 2 at least.
    pub(crate) fn new(bound: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (bound / 2).max(1) }
    }

    /// The entry for `key`, which counts as a use.
    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let (key, value) = self.old.remove_entry(key)?;
            self.insert(key, value);
        }
        self.young.get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.young = HashMap::new();
        self.old = HashMap::new();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut recent = Recent::new(8);
        recent.insert(0, "kept");
        for number in 1..100 {
            recent.insert(number, "other");
            assert_eq!(recent.get_mut(&0), Some(&mut "kept"), "lost after {number}");
        }
        assert!(recent.get_mut(&1).is_none() && recent.get_mut(&99).is_some());
    }

    proptest! {
        #[test]
        fn it_never_outgrows_its_bound_and_never_lies(
            bound in 2_usize..20,
            steps in proptest::collection::vec((0_u8..40, 0_u8..3), 0..200),
        ) {
            let mut recent = Recent::new(bound);
            let mut truth = HashMap::new();
            for (turn, (key, step)) in steps.into_iter().enumerate() {
                match step {
                    0 => {
                        recent.insert(key, turn);
                        truth.insert(key, turn);
                        prop_assert_eq!(recent.get_mut(&key).copied(), Some(turn));
                    }
                    1 => {
                        recent.remove(&key);
                        truth.remove(&key);
                        prop_assert_eq!(recent.get_mut(&key), None);
                    }
                    _ => if let Some(found) = recent.get_mut(&key) {
                        prop_assert_eq!(Some(&*found), truth.get(&key));
                    },
                }
                prop_assert!(recent.len() <= bound);
            }
        }
    }
}
