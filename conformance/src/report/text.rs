//! The table for a terminal.

use std::fmt::Write;

use super::{Outcome, Report};

/// Longest reason in the table, in characters; the page and the JSON hold all of it.
const SHOWN: usize = 600;

pub(super) fn render(report: &Report) -> String {
    let mut text = format!("Conformance of {}\n\n", report.registry);
    let width = report.suites.iter().map(|suite| suite.name.len()).max().unwrap_or_default();
    let _ = writeln!(text, "  {:width$}  passed  failed  skipped  unexplained  seconds", "");
    for suite in &report.suites {
        let counts = suite.counts();
        let _ = writeln!(
            text,
            "  {:width$}  {:>6}  {:>6}  {:>7}  {:>11}  {:>7.1}",
            suite.name,
            counts.passed,
            counts.failed,
            counts.skipped,
            counts.unexplained,
            suite.seconds()
        );
    }
    for suite in &report.suites {
        for case in &suite.cases {
            let (mark, reason) = match &case.outcome {
                Outcome::Passed => continue,
                Outcome::Failed(reason) => ("FAILED ", reason),
                Outcome::Skipped(reason) => ("skipped", reason),
                Outcome::Unexplained(reason) => ("SKIPPED FOR NO KNOWN REASON", reason),
            };
            let shown: String = reason.chars().take(SHOWN).collect();
            let _ = write!(text, "\n  {mark} {}: {}\n          {}\n", suite.name, case.name, shown.trim());
        }
    }
    text.push('\n');
    text.push_str(if report.conforms() { "It conforms.\n" } else { "It does not conform.\n" });
    if !report.sparse_manifests {
        text.push_str("It refuses manifests whose parts are missing, as it may; suites ask accordingly.\n");
    }
    text
}
