//! The points of the commit order at which a server of the feature `failpoints` can be made to die.

use std::collections::BTreeMap;

use rand::{Rng, rngs::StdRng};

/// The points, in the order in which a blob meets them, and how many passes a point may let through before it
/// kills. Metadata commits are met far more often.
const POINTS: &[(&str, u32)] = &[
    ("blob-before-sync", 20),
    ("blob-after-sync", 20),
    ("blob-after-rename", 20),
    ("blob-after-directory-sync", 20),
    ("metadata-before-commit", 60),
    ("metadata-after-commit", 60),
];

/// Rounds after which every point has been chosen this often at least.
const ENOUGH: usize = 2;

/// Which points were met.
#[derive(Debug, Default)]
pub(super) struct Met {
    chosen: usize,
    deaths: BTreeMap<&'static str, usize>,
}

impl Met {
    /// The next point, and the setting that kills at one of its passes.
    pub(super) fn choose(&mut self, random: &mut StdRng) -> (&'static str, String) {
        let (point, most) = POINTS[self.chosen % POINTS.len()];
        self.chosen += 1;
        let passes = random.random_range(1..=most);
        (point, format!("{point}={passes}*off->panic(killed here)"))
    }

    pub(super) fn died_at(&mut self, point: &'static str) {
        *self.deaths.entry(point).or_default() += 1;
    }

    /// Points that were chosen often enough and killed nothing: the feature is not in the binary, or the point has
    /// another name.
    pub(super) fn never_met(&self) -> Vec<&'static str> {
        if self.chosen < POINTS.len() * ENOUGH {
            return Vec::new();
        }
        POINTS.iter().map(|(point, _)| *point).filter(|point| !self.deaths.contains_key(point)).collect()
    }
}

impl std::fmt::Display for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let told: Vec<String> = self.deaths.iter().map(|(point, count)| format!("{point} {count}")).collect();
        f.write_str(&told.join(", "))
    }
}
