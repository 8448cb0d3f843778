//! What the registry may have after a crash.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use registry_types::Digest;

/// Something that the registry has or has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Blob(String, Digest),
    Manifest(String, Digest),
    Tag(String, String),
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blob(repository, digest) => write!(f, "blob {repository}@{digest}"),
            Self::Manifest(repository, digest) => write!(f, "manifest {repository}@{digest}"),
            Self::Tag(repository, tag) => write!(f, "tag {repository}:{tag}"),
        }
    }
}

/// What stands under a key: nothing, or content of this digest.
pub(super) type Value = Option<Digest>;

/// A change that a request asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) value: Value,
    /// When the request was about to be sent.
    pub(super) begin: u64,
    /// When its acknowledgement had come; never, if the connection was cut.
    pub(super) end: Option<u64>,
}

/// Changes of one request, done together or not at all.
#[derive(Debug, Clone)]
pub(super) struct Group(pub(super) Vec<Step>);

/// One change of a [`Group`].
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) key: Key,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// What a writer did in one round.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) changes: Vec<(Key, Change)>,
    /// Keys that a refused request must not have made.
    pub(super) refused: Vec<Key>,
    /// Requests of this writer alone that were cut.
    pub(super) in_flight: Vec<Group>,
    /// Blobs that manifests or mounts rely on, which are not deleted.
    pub(super) pinned: Vec<Digest>,
    /// Answers that no correct registry gives.
    pub(super) faults: Vec<String>,
    /// Requests acknowledged.
    pub(super) acknowledged: usize,
}

/// Everything known about the registry's data.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// What was seen after the last crash.
    pub(super) settled: BTreeMap<Key, Value>,
    /// What was asked for since.
    changes: HashMap<Key, Vec<Change>>,
    pub(super) in_flight: Vec<Group>,
    pub(super) pinned: HashSet<Digest>,
}

impl Model {
    pub(super) fn add(&mut self, log: Log) {
        for (key, change) in log.changes {
            self.settled.entry(key.clone()).or_default();
            self.changes.entry(key).or_default().push(change);
        }
        for key in log.refused {
            self.changes.entry(key.clone()).or_default();
            self.settled.entry(key).or_default();
        }
        self.in_flight.extend(log.in_flight);
        self.pinned.extend(log.pinned);
    }

    /// Keys that changed since the last crash.
    pub(super) fn touched(&self) -> Vec<Key> {
        self.changes.keys().cloned().collect()
    }

    /// Whether `seen` may stand under `key`: the value before, or that of a change, unless another change was
    /// acknowledged that began after it had ended.
    pub(super) fn allows(&self, key: &Key, seen: Value) -> bool {
        let before = Change { value: self.settled.get(key).copied().flatten(), begin: 0, end: Some(0) };
        let changes = self.changes.get(key).map_or(&[][..], Vec::as_slice);
        let overwritten = |change: &Change| {
            let Some(end) = change.end else { return false };
            changes.iter().any(|later| later.end.is_some() && later.begin > end)
        };
        std::iter::once(&before).chain(changes).any(|change| change.value == seen && !overwritten(change))
    }

    /// Values that may stand under `key`, for messages.
    pub(super) fn expected(&self, key: &Key) -> Vec<Value> {
        let changes = self.changes.get(key).map_or(&[][..], Vec::as_slice);
        let settled = self.settled.get(key).copied().flatten();
        let values: BTreeSet<Value> =
            std::iter::once(settled).chain(changes.iter().map(|change| change.value)).collect();
        values.into_iter().filter(|&value| self.allows(key, value)).collect()
    }

    /// Takes over what was seen; from now on this is what has to be there.
    pub(super) fn settle(&mut self, seen: Vec<(Key, Value)>) {
        self.settled.extend(seen);
        self.changes.clear();
        self.in_flight.clear();
    }

    /// Tags that a repository has.
    pub(super) fn tags(&self, repository: &str) -> BTreeMap<String, Digest> {
        let tags = self.settled.iter().filter_map(|(key, value)| match key {
            Key::Tag(name, tag) if name == repository => Some((tag.clone(), (*value)?)),
            _ => None,
        });
        tags.collect()
    }

    /// Repositories with anything in them.
    pub(super) fn repositories(&self) -> BTreeSet<String> {
        let names = self.settled.keys().map(|key| match key {
            Key::Blob(name, _) | Key::Manifest(name, _) | Key::Tag(name, _) => name.clone(),
        });
        names.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::Tag("a".to_owned(), "t".to_owned())
    }

    fn value(text: &str) -> Value {
        Some(Digest::sha256(text.as_bytes()))
    }

    fn model(changes: &[(Value, u64, Option<u64>)]) -> Model {
        let mut model = Model::default();
        let changes = changes.iter().map(|&(value, begin, end)| (key(), Change { value, begin, end }));
        model.add(Log { changes: changes.collect(), ..Log::default() });
        model
    }

    #[test]
    fn what_was_acknowledged_has_to_be_there() {
        let model = model(&[(value("1"), 1, Some(2))]);
        assert!(model.allows(&key(), value("1")));
        assert!(!model.allows(&key(), None), "a lost write is allowed");
        assert!(!model.allows(&key(), value("2")), "a value of nobody is allowed");
    }

    #[test]
    fn what_was_cut_may_be_there_or_not() {
        let model = model(&[(value("1"), 1, Some(2)), (value("2"), 3, None)]);
        assert!(model.allows(&key(), value("1")) && model.allows(&key(), value("2")));
        assert!(!model.allows(&key(), None));
        assert_eq!(model.expected(&key()).len(), 2);
    }

    #[test]
    fn of_requests_at_once_each_may_be_the_last() {
        let model = model(&[
            (value("1"), 1, Some(4)),
            (value("2"), 2, Some(3)),
            (None, 5, Some(6)),
            (value("3"), 5, Some(7)),
        ]);
        assert!(model.allows(&key(), None) && model.allows(&key(), value("3")));
        assert!(!model.allows(&key(), value("1")) && !model.allows(&key(), value("2")));
    }

    #[test]
    fn what_was_refused_must_not_be_there() {
        let mut model = Model::default();
        model.add(Log { refused: vec![key()], ..Log::default() });
        assert!(model.allows(&key(), None) && !model.allows(&key(), value("1")));
        assert_eq!(model.touched(), [key()]);
    }

    #[test]
    fn what_was_seen_is_what_has_to_stay() {
        let mut model = model(&[(value("1"), 1, None)]);
        model.settle(vec![(key(), value("1"))]);
        assert!(model.allows(&key(), value("1")) && !model.allows(&key(), None));
        assert_eq!(model.tags("a").len(), 1);
    }
}
