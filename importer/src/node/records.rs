//! Image records of a node after an import: what they point at, whether the node's CRI sees them and the
//! content is whole; labels on them; and their repair when an import failed for good.

use std::collections::BTreeMap;

use registry_types::Digest;

use super::{
    Node, NodeFacts,
    inventory::{Check, Record, parse_checks, parse_records},
    sections::Sections,
};
use crate::ImportError;

/// `$1` address, `$2` snapshotter or nothing, `$3` whether to ask crictl too, `$4` labels as key=value words,
/// names to label, `--`, names to look at. A label that cannot be set is missing in what follows.
const OUTCOME_SCRIPT: &str = r#"
a=$1 snapshotter=$2 crictl=$3 labels=$4; shift 4
while [ "$1" != -- ]; do c images label "$1" $labels >/dev/null; shift; done
shift
check() {
    for name in "$@"; do set -- "$@" "name==\"$name\""; shift; done
    if [ -n "$snapshotter" ]; then set -- --snapshotter "$snapshotter" "$@"; fi
    c images check "$@"
}
unknown() {
    for name in "$@"; do crictl -r "unix://$a" inspecti -q "$name" >/dev/null || echo "$name"; done
}
section images c images ls
section check check "$@"
if [ "$crictl" = yes ]; then section crictl unknown "$@"; fi
"#;

/// `$1` address, `$2` labels as key= words, whose empty values remove them, then names.
const LABEL_SCRIPT: &str = r#"
a=$1 labels=$2; shift 2
for name in "$@"; do c images label "$name" $labels >/dev/null || exit; done
"#;

/// `$1` address, then pairs: a record to copy, or nothing to remove, and the name to mend.
const MEND_SCRIPT: &str = r#"
a=$1; shift
while [ $# -gt 1 ]; do
    if [ -n "$1" ]; then c images tag --force "$1" "$2"; else c images rm "$2"; fi
    shift 2
done >/dev/null
"#;

/// Labels that keep an image from garbage collection: the first is read by the node's CRI (containerd 1.7 and
/// later), the second marks k3s's own imports.
const PIN: &str = "io.cri-containerd.pinned";
const K3S_PIN: &str = "io.cattle.k3s.pinned";

/// The state of the names that an import asked for.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) records: BTreeMap<String, Record>,
    checks: BTreeMap<String, Check>,
    unknown_to_crictl: Vec<String>,
}

/// What one look at the records told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Good,
    /// Content is missing or not unpacked: sending it again helps.
    Incomplete(String),
    /// Not there yet, which the node's CRI may mend by itself in a moment.
    Unfinished(String),
}

impl Outcome {
    /// Judges `name`, which must point at `digest`; `config` is the digest that CRI calls the image by.
    pub(crate) fn judge(&self, name: &str, digest: &Digest, config: &Digest) -> Verdict {
        match self.records.get(name) {
            None => return Verdict::Unfinished("the node has no image of this name".to_owned()),
            Some(record) if record.digest != *digest => {
                return Verdict::Unfinished(format!("the name points at {} instead", record.digest));
            }
            Some(_) => {}
        }
        match self.checks.get(name) {
            Some(check) if check.complete && check.unpacked => {}
            Some(check) if check.complete => {
                return Verdict::Incomplete("the content is there but was not unpacked".to_owned());
            }
            Some(check) => return Verdict::Incomplete(format!("the node's content is {}", check.status)),
            None => return Verdict::Incomplete("ctr images check does not list the name".to_owned()),
        }
        let managed = |name: &str| self.records.get(name).is_some_and(|record| record.managed);
        if !managed(name) || !managed(&config.to_string()) {
            return Verdict::Unfinished("the node's CRI has not taken notice of it".to_owned());
        }
        if self.unknown_to_crictl.iter().any(|unknown| unknown == name) {
            return Verdict::Unfinished("crictl does not know the name".to_owned());
        }
        Verdict::Good
    }
}

impl Node {
    /// Pins the names of `unpinned` against garbage collection, then looks at all of `names`.
    pub(crate) async fn outcome(
        &self,
        facts: &NodeFacts,
        names: &[String],
        unpinned: &[String],
    ) -> Result<Outcome, ImportError> {
        let crictl = if facts.crictl { "yes" } else { "no" };
        let mut arguments = vec![
            facts.address.clone(),
            facts.snapshotter.clone().unwrap_or_default(),
            crictl.to_owned(),
            pin_labels(facts, "pinned"),
        ];
        arguments.extend_from_slice(unpinned);
        arguments.push("--".to_owned());
        arguments.extend_from_slice(names);
        let output = self.run_script(OUTCOME_SCRIPT, &arguments).await?;
        output.succeeded("the check")?;
        let sections = Sections::parse(&String::from_utf8_lossy(&output.stdout));
        let images = sections.succeeded("images", "ctr images ls", &output.stderr)?;
        Ok(Outcome {
            records: parse_records(images),
            // Its exit status says no more than the lines do: a name that could not be checked has none.
            checks: parse_checks(sections.text("check")),
            unknown_to_crictl: sections.text("crictl").lines().map(str::to_owned).collect(),
        })
    }

    /// Lets garbage collection have `names` again.
    pub(crate) async fn unpin(&self, facts: &NodeFacts, names: &[String]) -> Result<(), ImportError> {
        if names.is_empty() {
            return Ok(());
        }
        let mut arguments = vec![facts.address.clone(), pin_labels(facts, "")];
        arguments.extend_from_slice(names);
        self.run_checked("ctr images label", LABEL_SCRIPT, &arguments).await
    }

    /// Points each name at what another record points at, or removes it. The first of a pair is that record.
    pub(crate) async fn mend(
        &self,
        facts: &NodeFacts,
        names: &[(Option<String>, String)],
    ) -> Result<(), ImportError> {
        if names.is_empty() {
            return Ok(());
        }
        let mut arguments = vec![facts.address.clone()];
        for (from, name) in names {
            arguments.extend([from.clone().unwrap_or_default(), name.clone()]);
        }
        self.run_checked("ctr images rm", MEND_SCRIPT, &arguments).await
    }

    async fn run_checked(
        &self,
        command: &str,
        script: &str,
        arguments: &[String],
    ) -> Result<(), ImportError> {
        self.run_script(script, arguments).await?.succeeded(command)
    }
}

/// The labels that pin an image, all with `value`, as words of a script.
fn pin_labels(facts: &NodeFacts, value: &str) -> String {
    if facts.k3s { format!("{PIN}={value} {K3S_PIN}={value}") } else { format!("{PIN}={value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(record: Option<(&str, bool)>, check: Option<(bool, bool)>, config_managed: bool) -> Outcome {
        let digest = |text: &str| Digest::sha256(text.as_bytes());
        let mut records = BTreeMap::new();
        if let Some((target, managed)) = record {
            records.insert("host/a:t".to_owned(), Record { digest: digest(target), managed, pinned: false });
        }
        if config_managed {
            records.insert(
                digest("config").to_string(),
                Record { digest: digest("manifest"), managed: true, pinned: false },
            );
        }
        let check = check.map(|(complete, unpacked)| {
            ("host/a:t".to_owned(), Check { complete, unpacked, status: "incomplete (1/2)".to_owned() })
        });
        Outcome { records, checks: check.into_iter().collect(), unknown_to_crictl: Vec::new() }
    }

    fn judge(outcome: &Outcome) -> Verdict {
        outcome.judge("host/a:t", &Digest::sha256(b"manifest"), &Digest::sha256(b"config"))
    }

    #[test]
    fn only_a_whole_unpacked_image_that_cri_manages_is_good() {
        let good = outcome(Some(("manifest", true)), Some((true, true)), true);
        assert_eq!(judge(&good), Verdict::Good);
        for unfinished in [
            outcome(None, None, true),
            outcome(Some(("other", true)), Some((true, true)), true),
            outcome(Some(("manifest", false)), Some((true, true)), true),
            outcome(Some(("manifest", true)), Some((true, true)), false),
            Outcome { unknown_to_crictl: vec!["host/a:t".to_owned()], ..good.clone() },
        ] {
            assert!(matches!(judge(&unfinished), Verdict::Unfinished(_)), "{unfinished:?}");
        }
        for incomplete in [
            outcome(Some(("manifest", true)), None, true),
            outcome(Some(("manifest", true)), Some((false, true)), true),
            outcome(Some(("manifest", true)), Some((true, false)), true),
        ] {
            assert!(matches!(judge(&incomplete), Verdict::Incomplete(_)), "{incomplete:?}");
        }
    }
}
