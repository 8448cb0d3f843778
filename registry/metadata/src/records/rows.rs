//! Every row of a store in a form that does not depend on its engine, to be carried to another engine and
//! compared there.

use registry_types::{Algorithm, Digest, DigestHasher};

/// One column of one row. Times are nanoseconds since 1970, digests as in [`digest_column`], truth 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RowValue {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The columns of [`Table::columns`], in their order.
pub type Row = Vec<RowValue>;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    Integer,
    /// Nanoseconds since 1970.
    Time,
    /// 0 or 1.
    Truth,
    Text,
    Bytes,
}

/// A table that is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub columns: &'static [(&'static str, ColumnKind)],
    /// How many of the first columns are the key that pages go by.
    pub key: usize,
    /// The engine counts up the first column by itself.
    pub numbered: bool,
}

use ColumnKind::{Bytes, Integer, Text, Time, Truth};

/// A table whose rows the engine numbers.
const fn numbered(name: &'static str, columns: &'static [(&'static str, ColumnKind)]) -> Table {
    Table { name, columns, key: 1, numbered: true }
}

/// A table whose first `key` columns name a row.
const fn keyed(name: &'static str, key: usize, columns: &'static [(&'static str, ColumnKind)]) -> Table {
    Table { name, columns, key, numbered: false }
}

/// What is carried, in an order in which no row comes before one it refers to. Not carried is what an engine
/// derives: indexes of what a repository refers to, counts, and what quotas have used.
pub const TABLES: &[Table] = &[
    numbered("repositories", &[("id", Integer), ("name", Text), ("created_at", Time)]),
    numbered(
        "blobs",
        &[
            ("id", Integer),
            ("digest", Bytes),
            ("size", Integer),
            ("location", Text),
            ("created_at", Time),
            ("leased_until", Time),
        ],
    ),
    keyed(
        "repository_blobs",
        2,
        &[("repository_id", Integer), ("blob_id", Integer), ("linked_at", Time), ("leased_until", Time)],
    ),
    numbered(
        "manifests",
        &[
            ("id", Integer),
            ("digest", Bytes),
            ("media_type", Text),
            ("artifact_type", Text),
            ("annotations", Text),
            ("image_size", Integer),
            ("bytes", Bytes),
        ],
    ),
    keyed("manifest_references", 3, &[("manifest_id", Integer), ("kind", Integer), ("digest", Bytes)]),
    numbered(
        "repository_manifests",
        &[
            ("id", Integer),
            ("repository_id", Integer),
            ("manifest_id", Integer),
            ("subject", Bytes),
            ("artifact_type", Text),
            ("pushed_at", Time),
            ("leased_until", Time),
            ("untagged_since", Time),
            ("orphaned_at", Time),
            ("pulled_at", Time),
        ],
    ),
    keyed(
        "tags",
        2,
        &[("repository_id", Integer), ("name", Text), ("manifest_id", Integer), ("updated_at", Time)],
    ),
    keyed(
        "uploads",
        1,
        &[
            ("id", Text),
            ("repository", Text),
            ("started_at", Time),
            ("touched_at", Time),
            ("algorithm", Text),
            ("length", Integer),
            ("state", Bytes),
            ("store", Bytes),
            ("writer", Integer),
        ],
    ),
    keyed(
        "accounts",
        1,
        &[("name", Text), ("kind", Text), ("admin", Truth), ("password_hash", Text), ("created_at", Time)],
    ),
    numbered("rules", &[("id", Integer), ("subject", Text), ("pattern", Text), ("actions", Text)]),
    numbered(
        "tag_rules",
        &[("id", Integer), ("repositories", Text), ("tags", Text), ("effect", Text), ("allowed", Text)],
    ),
    numbered(
        "retentions",
        &[("id", Integer), ("prefix", Text), ("rule", Text), ("schedule", Text), ("started_at", Time)],
    ),
    numbered("quotas", &[("id", Integer), ("prefix", Text), ("limit_bytes", Integer)]),
    numbered("events", &[("id", Integer), ("repository", Text), ("payload", Text), ("created_at", Time)]),
    keyed(
        "event_cursors",
        1,
        &[
            ("endpoint", Text),
            ("event_id", Integer),
            ("attempts", Integer),
            ("next_attempt_at", Time),
            ("locked_until", Time),
            ("claim", Integer),
        ],
    ),
    keyed(
        "collection_queue",
        3,
        &[("kind", Integer), ("repository_id", Integer), ("item_id", Integer), ("due_at", Time)],
    ),
    keyed(
        "deleted_subjects",
        2,
        &[("repository_id", Integer), ("digest", Bytes), ("after_id", Integer), ("deleted_at", Time)],
    ),
    numbered(
        "blob_removals",
        &[
            ("id", Integer),
            ("digest", Bytes),
            ("location", Text),
            ("size", Integer),
            ("next_attempt_at", Time),
        ],
    ),
];

/// A digest as one byte for its algorithm (1 sha256, 2 sha512) and its raw bytes.
pub fn digest_column(digest: &Digest) -> Vec<u8> {
    let raw = digest.as_bytes();
    let mut column = Vec::with_capacity(1 + raw.len());
    column.push(match digest.algorithm() {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    });
    column.extend_from_slice(raw);
    column
}

/// Reads what [`digest_column`] wrote; `None` for anything else.
pub fn parse_digest_column(column: &[u8]) -> Option<Digest> {
    let (first, raw) = column.split_first()?;
    let algorithm = match first {
        1 => Algorithm::Sha256,
        2 => Algorithm::Sha512,
        _ => return None,
    };
    Digest::from_bytes(algorithm, raw)
}

/// Counts and digests rows, to compare two stores.
#[derive(Debug)]
pub struct TableSummary {
    hasher: DigestHasher,
    rows: u64,
}

impl Default for TableSummary {
    fn default() -> Self {
        Self { hasher: DigestHasher::new(Algorithm::Sha256), rows: 0 }
    }
}

impl TableSummary {
    /// Takes the next row; rows must come in the order of their keys. Every value is written with its kind and
    /// length, so that no two lists of rows read the same.
    pub fn add(&mut self, row: &Row) {
        self.rows += 1;
        self.hasher.update(&(row.len() as u64).to_be_bytes());
        for value in row {
            let (kind, content): (u8, &[u8]) = match value {
                RowValue::Null => (0, &[]),
                RowValue::Integer(number) => (1, &number.to_be_bytes()),
                RowValue::Text(text) => (2, text.as_bytes()),
                RowValue::Bytes(bytes) => (3, bytes),
            };
            self.hasher.update(&[kind]);
            self.hasher.update(&(content.len() as u64).to_be_bytes());
            self.hasher.update(content);
        }
    }

    /// How many rows there were, and the digest over them.
    pub fn finish(self) -> (u64, Digest) {
        (self.rows, self.hasher.finish())
    }
}
