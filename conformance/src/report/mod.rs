//! What was found, and the forms in which it is told: a table, JSON, JUnit XML, and one HTML page.

mod html;
mod junit;
mod text;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ConformanceError;

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "reason", rename_all = "lowercase")]
pub enum Outcome {
    Passed,
    Failed(String),
    /// Skipped for a known reason.
    Skipped(String),
    /// Skipped for no known reason, which counts as a failure.
    Unexplained(String),
}

impl Outcome {
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unexplained(_))
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(reason) | Self::Skipped(reason) | Self::Unexplained(reason) => Some(reason),
        }
    }
}

/// One test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    pub name: String,
    /// Part of the specification that it asks about.
    pub section: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub seconds: f64,
}

/// Tests that ran together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suite {
    pub name: String,
    pub cases: Vec<Case>,
}

/// Numbers of tests by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    pub unexplained: usize,
}

impl Suite {
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for case in &self.cases {
            let count = match case.outcome {
                Outcome::Passed => &mut counts.passed,
                Outcome::Failed(_) => &mut counts.failed,
                Outcome::Skipped(_) => &mut counts.skipped,
                Outcome::Unexplained(_) => &mut counts.unexplained,
            };
            *count += 1;
        }
        counts
    }

    fn seconds(&self) -> f64 {
        self.cases.iter().map(|case| case.seconds).sum()
    }
}

/// A whole run on one registry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub registry: String,
    /// When it ended (RFC 3339).
    pub ended: String,
    /// Whether the registry takes manifests whose parts are missing. The specification leaves that to it, and the
    /// suites ask only what applies.
    pub sparse_manifests: bool,
    /// Whether the registry asks for tokens.
    pub tokens: bool,
    pub suites: Vec<Suite>,
}

impl Report {
    /// Nothing failed, and every skip is explained.
    pub fn conforms(&self) -> bool {
        let cases = || self.suites.iter().flat_map(|suite| &suite.cases);
        cases().next().is_some() && !cases().any(|case| case.outcome.is_failure())
    }

    /// The table for a terminal, with the reasons below it.
    pub fn to_text(&self) -> String {
        text::render(self)
    }

    /// Everything, with the verdict and the counts.
    pub fn to_json(&self) -> String {
        let mut value = serde_json::to_value(self).unwrap_or_default();
        if let Some(report) = value.as_object_mut() {
            report.insert("conforms".to_owned(), self.conforms().into());
        }
        let suites = value.get_mut("suites").and_then(serde_json::Value::as_array_mut);
        for (value, suite) in suites.into_iter().flatten().zip(&self.suites) {
            if let (Some(value), Ok(counts)) = (value.as_object_mut(), serde_json::to_value(suite.counts())) {
                value.insert("counts".to_owned(), counts);
            }
        }
        format!("{value:#}\n")
    }

    /// Writes `report.json`, `junit.xml` and `report.html`, and gives their paths.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, ConformanceError> {
        let files = [
            ("report.json", self.to_json()),
            ("junit.xml", junit::render(self)),
            ("report.html", html::render(self)),
        ];
        let mut written = Vec::new();
        for (name, text) in files {
            let path = folder.join(name);
            match std::fs::write(&path, text) {
                Ok(()) => written.push(path),
                Err(source) => return Err(ConformanceError::Io { action: "write", path, source }),
            }
        }
        Ok(written)
    }
}

/// Text inside XML or HTML. Characters that XML cannot hold at all become spaces.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(letter),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests;
