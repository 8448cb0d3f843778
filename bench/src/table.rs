//! Results: collected as measured, over all rounds; medians as a table with ratios, everything as JSON.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::Result;
use serde_json::json;

/// What a contestant reached in each round.
#[derive(Debug, Clone)]
struct Row {
    what: String,
    who: String,
    values: Vec<f64>,
    unit: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

/// Whose values stand first, and are compared with all others.
const OURS: &str = "slipway";

impl Table {
    /// Adds a measure and shows it at once.
    pub(crate) fn add(&mut self, what: impl Into<String>, who: &str, value: f64, unit: &'static str) {
        let what = what.into();
        println!("  {what:46} {who:13} {value:>12.3} {unit}");
        match self.0.iter_mut().find(|row| row.what == what && row.who == who) {
            Some(row) => row.values.push(value),
            None => self.0.push(Row { what, who: who.to_owned(), values: vec![value], unit }),
        }
    }

    /// A Markdown table: one line for each discipline, one column for each contestant with its median and, for
    /// rivals, how many times theirs ours is.
    pub(crate) fn markdown(&self) -> String {
        let mut rivals: Vec<&str> = Vec::new();
        for row in self.0.iter().filter(|row| row.who != OURS) {
            if !rivals.contains(&row.who.as_str()) {
                rivals.push(&row.who);
            }
        }
        let mut text = format!("| what | unit | {OURS} |");
        for rival in &rivals {
            let _ = write!(text, " {rival} |");
        }
        let _ = write!(text, "\n|---|---|---|{}\n", "---|".repeat(rivals.len()));
        let mut done = BTreeSet::new();
        for row in self.0.iter().filter(|row| done.insert(row.what.clone())) {
            let value = |who: &str| {
                self.0.iter().find(|other| other.what == row.what && other.who == who).map(|row| row.median())
            };
            let ours = value(OURS);
            let _ = write!(text, "| {} | {} | {} |", row.what, row.unit, ours.map_or(String::new(), number));
            for rival in &rivals {
                let cell = value(rival).map_or(String::new(), |theirs| {
                    let ratio = ours.filter(|_| theirs != 0.0).map(|ours| ours / theirs);
                    number(theirs) + &ratio.map_or(String::new(), |ratio| format!(" ({ratio:.2}x)"))
                });
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        text
    }

    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|row| {
                json!({
                    "what": row.what, "who": row.who, "unit": row.unit, "median": row.median(),
                    "values": row.values,
                })
            })
            .collect();
        Ok(fs::write(file, serde_json::to_vec_pretty(&rows)?)?)
    }
}

impl Row {
    fn median(&self) -> f64 {
        median(self.values.clone())
    }
}

fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The middle of some values; the smaller of the two middle ones for an even number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(vec![4.0, 1.0]) - 1.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn medians_over_the_rounds_stand_beside_each_other() {
        let mut table = Table::default();
        for (ours, theirs) in [(1.0, 9.0), (2.0, 4.0), (30.0, 5.0)] {
            table.add("pull", OURS, ours, "s");
            table.add("pull", "nginx", theirs, "s");
        }
        table.add("push", "other", 250.0, "MB/s");
        assert_eq!(
            table.markdown(),
            "| what | unit | slipway | nginx | other |\n|---|---|---|---|---|\n\
             | pull | s | 2.000 | 5.000 (0.40x) |  |\n| push | MB/s |  |  | 250 |\n"
        );
    }
}
