//! What a node has: its image records and the blobs they hold, read from `ctr images ls` and
//! `ctr content ls`.
//!
//! A blob counts as present only if it is in the content store *and* an image record reaches it through
//! containerd's own garbage-collection labels: anything else may be collected before the import needs it.

use std::collections::{BTreeMap, HashMap, HashSet};

use registry_types::Digest;

/// Key prefix of the labels by which one blob keeps another alive (containerd, "Garbage Collection").
const CHILD_LABEL: &str = "containerd.io/gc.ref.content";
/// Set by the node's CRI on images that it knows.
const MANAGED_LABEL: &str = "io.cri-containerd.image=managed";
const PINNED_LABEL: &str = "io.cri-containerd.pinned=pinned";

/// An image record: a name and what it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) digest: Digest,
    /// Whether the node's CRI has taken notice of it.
    pub(crate) managed: bool,
    pub(crate) pinned: bool,
}

/// A node's image records, by name, and what they hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inventory {
    pub(crate) records: BTreeMap<String, Record>,
    held: HashSet<Digest>,
}

impl Inventory {
    /// Reads the two tables. Lines in a form that is not theirs, such as headings, are passed over.
    pub(crate) fn parse(images: &str, content: &str) -> Self {
        let records = parse_records(images);
        let children = parse_content(content);
        let mut held = HashSet::new();
        let mut waiting: Vec<Digest> = records.values().map(|record| record.digest).collect();
        while let Some(digest) = waiting.pop() {
            if let Some(below) = children.get(&digest)
                && held.insert(digest)
            {
                waiting.extend(below);
            }
        }
        Self { records, held }
    }

    /// Whether the node has `digest` and will keep it.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        self.held.contains(digest)
    }

    /// Whether `name` points at `digest`.
    pub(crate) fn points_at(&self, name: &str, digest: &Digest) -> bool {
        self.records.get(name).is_some_and(|record| record.digest == *digest)
    }
}

/// Columns: REF TYPE DIGEST SIZE PLATFORMS LABELS.
pub(crate) fn parse_records(table: &str) -> BTreeMap<String, Record> {
    table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let name = columns.next()?;
            let digest = columns.nth(1)?.parse().ok()?;
            let labels: Vec<&str> = columns.flat_map(|column| column.split(',')).collect();
            let record = Record {
                digest,
                managed: labels.contains(&MANAGED_LABEL),
                pinned: labels.contains(&PINNED_LABEL),
            };
            Some((name.to_owned(), record))
        })
        .collect()
}

/// Columns: DIGEST SIZE AGE LABELS, of which AGE is several words. Gives each blob with those it keeps.
fn parse_content(table: &str) -> HashMap<Digest, Vec<Digest>> {
    table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace();
            let digest = columns.next()?.parse().ok()?;
            let children = columns
                .flat_map(|column| column.split(','))
                .filter_map(|label| label.split_once('='))
                .filter(|(key, _)| key.starts_with(CHILD_LABEL))
                .filter_map(|(_, child)| child.parse().ok())
                .collect();
            Some((digest, children))
        })
        .collect()
}

/// What `ctr images check` says of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) complete: bool,
    pub(crate) unpacked: bool,
    /// The line's status, for messages.
    pub(crate) status: String,
}

/// Columns: REF TYPE DIGEST STATUS SIZE UNPACKED, of which STATUS and SIZE are several words.
pub(crate) fn parse_checks(table: &str) -> BTreeMap<String, Check> {
    table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [name, _, digest, status, .., unpacked] = columns.as_slice() else { return None };
            digest.parse::<Digest>().ok()?;
            let parts = columns.get(4).copied().filter(|part| part.starts_with('(')).unwrap_or_default();
            let check = Check {
                complete: *status == "complete",
                unpacked: *unpacked == "true",
                status: format!("{status} {parts}").trim().to_owned(),
            };
            Some(((*name).to_owned(), check))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn images(rows: &[(&str, &str, &str)]) -> String {
        let mut table = "REF TYPE DIGEST SIZE PLATFORMS LABELS \n".to_owned();
        for (name, target, labels) in rows {
            table += &format!(
                "{name} application/vnd.oci.image.manifest.v1+json {} 1.0 MiB linux/amd64 {labels} \n",
                digest(target)
            );
        }
        table
    }

    fn content(rows: &[(&str, &[&str])]) -> String {
        let mut table = "DIGEST\tSIZE\tAGE\tLABELS\n".to_owned();
        for (blob, children) in rows {
            let labels: Vec<String> = children
                .iter()
                .enumerate()
                .map(|(index, child)| format!("containerd.io/gc.ref.content.l.{index}={}", digest(child)))
                .collect();
            let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(",") };
            table += &format!("{}\t1.1MB\tLess than a second\t{labels}\n", digest(blob));
        }
        table
    }

    #[test]
    fn only_blobs_that_a_record_reaches_and_the_store_has_count() {
        let inventory = Inventory::parse(
            &images(&[("host:1/a:t", "manifest", "io.cri-containerd.image=managed")]),
            &content(&[
                ("manifest", &["config", "layer", "collected"]),
                ("config", &[]),
                ("layer", &[]),
                ("stray manifest", &["stray layer"]),
                ("stray layer", &[]),
            ]),
        );
        for held in ["manifest", "config", "layer"] {
            assert!(inventory.holds(&digest(held)), "{held}");
        }
        for loose in ["collected", "stray manifest", "stray layer", "never seen"] {
            assert!(!inventory.holds(&digest(loose)), "{loose}");
        }
        assert!(inventory.points_at("host:1/a:t", &digest("manifest")));
        assert!(!inventory.points_at("host:1/a:u", &digest("manifest")));
    }

    #[test]
    fn an_index_holds_what_its_manifests_hold_and_a_circle_ends() {
        let inventory = Inventory::parse(
            &images(&[("a", "index", "-")]),
            &content(&[("index", &["manifest"]), ("manifest", &["layer", "index"]), ("layer", &[])]),
        );
        assert!(inventory.holds(&digest("layer")));
    }

    #[test]
    fn labels_of_records_are_read() {
        let records = parse_records(&images(&[
            (
                "a",
                "1",
                "io.cattle.k3s.pinned=pinned,io.cri-containerd.image=managed,io.cri-containerd.pinned=pinned",
            ),
            ("b", "2", "io.cri-containerd.image=managedx"),
            ("c", "3", "-"),
        ]));
        let of = |name: &str| (records[name].managed, records[name].pinned);
        assert_eq!((of("a"), of("b"), of("c")), ((true, true), (false, false), (false, false)));
        assert_eq!(records.len(), 3);
    }

    #[test]
    fn checks_tell_complete_and_unpacked_apart() {
        let row = |name: &str, rest: &str| format!("{name} type/x {} {rest}\n", digest(name));
        let checks = parse_checks(&format!(
            "REF TYPE DIGEST STATUS SIZE UNPACKED \n{}{}{}{}",
            row("good", "complete (3/3) 1.0 MiB/1.0 MiB true"),
            row("packed", "complete (3/3) 1.0 MiB/1.0 MiB false"),
            row("part", "incomplete (2/3) 1.0 MiB/1.0 MiB true"),
            row("gone", "unavailable (0/?) 0.0 B/? false"),
        ));
        let of = |name: &str| (checks[name].complete, checks[name].unpacked);
        assert_eq!(
            [of("good"), of("packed"), of("part"), of("gone")],
            [(true, true), (true, false), (false, true), (false, false)]
        );
        assert_eq!(checks["part"].status, "incomplete (2/3)");
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic(images in "[ -~\n\t]{0,300}", content in "[ -~\n\t]{0,300}") {
            let _ = Inventory::parse(&images, &content);
            let _ = parse_checks(&images);
        }

        #[test]
        fn every_record_of_a_table_is_found(names in proptest::collection::btree_set("[a-z]{1,9}:[a-z0-9]{1,9}", 0..8)) {
            let rows: Vec<(&str, &str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str(), "-")).collect();
            let records = parse_records(&images(&rows));
            prop_assert_eq!(records.len(), names.len());
            for name in &names {
                prop_assert_eq!(records[name].digest, digest(name));
            }
        }
    }
}
