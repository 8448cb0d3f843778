//! What two images differ in. Every difference counts but those of [`EXPLAINED`], each with its reason.

use std::{collections::BTreeSet, fmt};

use anyhow::Result;
use serde_json::{Map, Value};

use super::{image::Image, tree::Tree};

/// Places in the config where two builds of one Dockerfile may differ. `#` stands for any index.
const EXPLAINED: &[(&str, &str)] = &[
    ("config: created", "the time of the build"),
    ("config: history[#].created", "the time of the step"),
    ("config: rootfs.diff_ids[#]", "a layer's archive holds times; the trees are compared instead"),
];

/// One difference: where, and what each image has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub place: String,
    pub ours: String,
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    ours:   {}\n    theirs: {}", self.place, self.ours, self.theirs)
    }
}

/// Every unexplained difference in config and files.
pub fn compare(ours: &Image, theirs: &Image) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    compare_json("config: ", &ours.config, &theirs.config, &mut differences);
    compare_trees(&ours.tree()?, &theirs.tree()?, &mut differences);
    differences.retain(|difference| !is_explained(&difference.place));
    Ok(differences)
}

fn is_explained(place: &str) -> bool {
    let mut general = String::new();
    let mut letters = place.chars().peekable();
    while let Some(letter) = letters.next() {
        general.push(letter);
        if letter == '[' && letters.peek().is_some_and(char::is_ascii_digit) {
            while letters.next_if(char::is_ascii_digit).is_some() {}
            general.push('#');
        }
    }
    EXPLAINED.iter().any(|(known, _)| *known == general)
}

fn compare_json(place: &str, ours: &Value, theirs: &Value, differences: &mut Vec<Difference>) {
    let show = |value: Option<&Value>| value.map_or_else(|| "(nothing)".to_owned(), ToString::to_string);
    let mut differ = |place: String, ours: Option<&Value>, theirs: Option<&Value>| {
        differences.push(Difference { place, ours: show(ours), theirs: show(theirs) });
    };
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for key in keys(ours, theirs) {
                let place =
                    if place.ends_with(' ') { format!("{place}{key}") } else { format!("{place}.{key}") };
                match (ours.get(key), theirs.get(key)) {
                    (Some(ours), Some(theirs)) => compare_json(&place, ours, theirs, differences),
                    (ours, theirs) => {
                        differences.push(Difference { place, ours: show(ours), theirs: show(theirs) });
                    }
                }
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                compare_json(&format!("{place}[{index}]"), ours, theirs, differences);
            }
        }
        (ours, theirs) if ours == theirs => {}
        (ours, theirs) => differ(place.to_owned(), Some(ours), Some(theirs)),
    }
}

fn keys<'m>(ours: &'m Map<String, Value>, theirs: &'m Map<String, Value>) -> BTreeSet<&'m String> {
    ours.keys().chain(theirs.keys()).collect()
}

fn compare_trees(ours: &Tree, theirs: &Tree, differences: &mut Vec<Difference>) {
    let paths: BTreeSet<&[u8]> = ours.paths().chain(theirs.paths()).collect();
    for path in paths {
        let show = |tree: &Tree| {
            let Some(node) = tree.get(path) else { return "(nothing)".to_owned() };
            match tree.first_name(path) {
                Some(first) if first != path => format!("{node}, the same file as /{}", first.escape_ascii()),
                _ => node.to_string(),
            }
        };
        let (ours, theirs) = (show(ours), show(theirs));
        if ours != theirs {
            differences.push(Difference { place: format!("/{}", path.escape_ascii()), ours, theirs });
        }
    }
}

#[cfg(test)]
mod tests;
