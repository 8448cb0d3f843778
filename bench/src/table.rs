//! Results: collected as measured, printed as a table with ratios, written as JSON.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::json;

/// One measured value of one contestant.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    pub(crate) what: String,
    pub(crate) who: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Measure>);

impl Table {
    /// Adds a measure and shows it at once.
    pub(crate) fn add(&mut self, what: impl Into<String>, who: &'static str, value: f64, unit: &'static str) {
        let measure = Measure { what: what.into(), who, value, unit };
        println!("  {:44} {:13} {:>12.3} {}", measure.what, measure.who, measure.value, measure.unit);
        self.0.push(measure);
    }

    /// Prints ours beside each rival's.
    pub(crate) fn print_ratios(&self) {
        println!("\nours beside each rival's (ratio of the two values)");
        for ours in self.0.iter().filter(|measure| measure.who == "slipway") {
            for rival in self.0.iter().filter(|measure| measure.what == ours.what && measure.who != "slipway")
            {
                let ratio = if rival.value == 0.0 { f64::NAN } else { ours.value / rival.value };
                println!(
                    "  {:44} {:>10.3} : {:>10.3} {:12} {ratio:>6.2}x {}",
                    ours.what, ours.value, rival.value, ours.unit, rival.who
                );
            }
        }
    }

    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let rows: Vec<_> = self
            .0
            .iter()
            .map(|row| json!({ "what": row.what, "who": row.who, "value": row.value, "unit": row.unit }))
            .collect();
        Ok(fs::write(file, serde_json::to_vec_pretty(&rows)?)?)
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
}
