//! What an upload's row keeps for this store: enough for any replica to go on without asking the object store what
//! is there. It always describes exactly the bytes that the hash state beside it covers.

use registry_types::{HashState, ObjectKey, UploadId, UploadProgress};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::BlobError;

/// The stored bytes of an upload: first those of the parts, then those of the tails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) multipart: Option<Multipart>,
    /// In order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Part>,
    #[serde(default)]
    pub(super) numbers: Numbers,
    /// Bytes in the parts.
    #[serde(default)]
    pub(super) parts_length: u64,
    /// Objects with the bytes behind the parts, in order: too few for a part of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tails: Vec<Tail>,
    /// Objects that were tails and are in a part now.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "keys")]
    pub(super) leftovers: Vec<ObjectKey>,
}

/// A stored part: its number, counted from 0, and what the object store answered for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part(pub(super) usize, pub(super) String);

/// Which part numbers nobody may have used. An object store keeps the last bytes it got for a number, and a request
/// of a writer that has lost the session may arrive late; so no two writers use one number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    /// The first that the writer had not begun to use.
    next: usize,
    /// The writer that handed this out.
    writer: u64,
    /// It had nothing under way and was about to end.
    clean: bool,
}

impl Numbers {
    pub(super) fn new(next: usize, writer: u64, clean: bool) -> Self {
        Self { next, writer, clean }
    }

    /// The first number for `writer`: behind the `gap` that each writer since may have used and not recorded.
    pub(super) fn first_of(self, writer: u64, gap: usize) -> usize {
        let others = writer.saturating_sub(self.writer + 1) + u64::from(!self.clean);
        self.next.saturating_add((others as usize).saturating_mul(gap))
    }
}

/// A multipart upload that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Multipart {
    /// The key of the object that it becomes.
    #[serde(with = "key")]
    pub(super) key: ObjectKey,
    /// The object store's name for it.
    pub(super) id: String,
}

/// An object with some bytes of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tail {
    #[serde(with = "key")]
    pub(super) key: ObjectKey,
    /// In bytes.
    pub(super) length: u64,
}

impl Stored {
    /// # Errors
    /// [`BlobError::UploadLost`] when the row does not account for the bytes that it promises.
    pub(super) fn of(id: UploadId, progress: &UploadProgress) -> Result<Self, BlobError> {
        let stored = if progress.store.is_empty() {
            Some(Self::default())
        } else {
            serde_json::from_slice(&progress.store)
                .inspect_err(|error| tracing::error!(%id, %error, "an upload's row cannot be read"))
                .ok()
        };
        stored.filter(|stored| stored.length() == progress.length()).ok_or(BlobError::UploadLost { id })
    }

    /// The row's form.
    pub(super) fn with(&self, hash: HashState) -> UploadProgress {
        // Strings and numbers only: there is nothing that JSON could not hold.
        let store =
            if *self == Self::default() { Vec::new() } else { serde_json::to_vec(self).unwrap_or_default() };
        UploadProgress { hash, store }
    }

    pub(super) fn length(&self) -> u64 {
        self.parts_length + self.tails_length()
    }

    pub(super) fn tails_length(&self) -> u64 {
        self.tails.iter().map(|tail| tail.length).sum()
    }

    /// Notes that the tails are in a part, or in one object, now.
    pub(super) fn retire_tails(&mut self) {
        self.leftovers.extend(self.tails.drain(..).map(|tail| tail.key));
    }
}

/// A key as text.
mod key {
    use super::*;

    pub(super) fn serialize<S: Serializer>(key: &ObjectKey, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(key.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectKey, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Keys as texts.
mod keys {
    use super::*;

    pub(super) fn serialize<S: Serializer>(keys: &[ObjectKey], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(keys.iter().map(ObjectKey::as_str))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<ObjectKey>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use registry_types::{Algorithm, DigestHasher};

    use super::*;

    #[test]
    fn a_row_brings_back_what_was_stored() {
        let key = |text: &str| text.parse::<ObjectKey>().expect("a key");
        let stored = Stored {
            multipart: Some(Multipart { key: key("blobs/ab/x/1"), id: "id&with\"signs".to_owned() }),
            parts: vec![Part(0, "\"etag\"".to_owned()), Part(33, "\"etag\"".to_owned())],
            numbers: Numbers::new(34, 7, false),
            parts_length: 20,
            tails: vec![Tail { key: key("blobs/ab/x/2"), length: 7 }],
            leftovers: vec![key("blobs/ab/x/0")],
        };
        let mut hasher = DigestHasher::new(Algorithm::Sha256);
        hasher.update(&[0; 27]);
        let progress = stored.with(hasher.save());
        assert_eq!(Stored::of(UploadId::random(), &progress).expect("whole"), stored);
        hasher.update(&[0]);
        let promised = UploadProgress { hash: hasher.save(), ..progress };
        assert!(Stored::of(UploadId::random(), &promised).is_err(), "a byte more than is stored");
    }

    #[test]
    fn no_two_writers_use_one_number() {
        let left_clean = Numbers::new(5, 3, true);
        assert_eq!(left_clean.first_of(4, 32), 5, "nobody was there between");
        assert_eq!(left_clean.first_of(6, 32), 5 + 2 * 32, "two may have begun parts");
        assert_eq!(Numbers::new(5, 3, false).first_of(4, 32), 5 + 32, "it may have begun more");
    }

    #[test]
    fn a_new_session_has_nothing_in_its_row() {
        let fresh = DigestHasher::new(Algorithm::Sha256).save();
        let progress = Stored::default().with(fresh);
        assert!(progress.store.is_empty());
        assert_eq!(Stored::of(UploadId::random(), &progress).expect("whole"), Stored::default());
        let damaged = UploadProgress { store: b"{".to_vec(), ..progress };
        assert!(Stored::of(UploadId::random(), &damaged).is_err());
    }
}
