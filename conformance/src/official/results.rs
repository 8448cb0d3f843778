//! The suite's `junit.xml`. Tests are its leaves, the counts in the heading its whole tree; both have to agree
//! that nothing failed, or the run has failed.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

use super::skips::explain;
use crate::{
    ConformanceError, SpecVersion,
    report::{Case, Outcome, Suite},
};

/// What the suite calls the whole; it begins every test's name.
const ROOT: &str = "OCI Conformance Test/";

/// Longest piece of what the suite says about one test that the report repeats, in characters: enough for the
/// request and the answer that it objects to.
const SHOWN: usize = 4000;

/// The least number of tests of a run that was not cut short. The suite has some 800 with everything on.
const FEWEST_TESTS: usize = 100;

/// Reads the results that a run left in `folder`.
pub(crate) fn read(folder: &Path, version: SpecVersion) -> Result<Suite, ConformanceError> {
    let path = folder.join("junit.xml");
    let text = std::fs::read_to_string(&path).map_err(|source| ConformanceError::Io {
        action: "read",
        path,
        source,
    })?;
    parse(&text, version).map_err(|reason| ConformanceError::SuiteFailed { version: version.name(), reason })
}

fn parse(text: &str, version: SpecVersion) -> Result<Suite, String> {
    let options = ParsingOptions { nodes_limit: 1_000_000, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| format!("its results cannot be read: {error}"))?;
    let mut cases: Vec<Case> =
        document.descendants().filter(|node| node.has_tag_name("testcase")).map(case).collect();
    if cases.len() < FEWEST_TESTS {
        return Err(format!("its results hold {} tests only: it was cut short", cases.len()));
    }
    let heading = document
        .descendants()
        .find(|node| node.has_tag_name("testsuite"))
        .ok_or_else(|| "its results have no heading".to_owned())?;
    let count = |name: &str| heading.attribute(name).and_then(|number| number.parse::<usize>().ok());
    let failed = match (count("failures"), count("errors")) {
        (Some(failures), Some(errors)) => failures + errors,
        _ => return Err("its results count no failures and errors".to_owned()),
    };
    if failed > 0 && !cases.iter().any(|case| case.outcome.is_failure()) {
        cases.push(Case {
            name: "the suite's own count".to_owned(),
            section: String::new(),
            outcome: Outcome::Failed(format!("it counts {failed} failures outside of its tests")),
            seconds: 0.0,
        });
    }
    Ok(Suite { name: format!("official suite, version {}", version.name()), cases })
}

fn case(node: Node<'_, '_>) -> Case {
    let full = node.attribute("name").unwrap_or_default();
    let name = full.strip_prefix(ROOT).unwrap_or(full).to_owned();
    let said = |tag: &str| {
        node.children()
            .find(|child| child.has_tag_name(tag))
            .and_then(|child| child.text())
            .unwrap_or_default()
    };
    let (summary, exchange) = (said("system-out"), said("system-err"));
    let outcome = match node.attribute("status").unwrap_or_default() {
        "passed" => Outcome::Passed,
        "skipped" => match explain(&name, &format!("{summary}\n{exchange}")) {
            Some(explanation) => Outcome::Skipped(explanation.to_owned()),
            None => Outcome::Unexplained(shown(if summary.is_empty() { exchange } else { summary })),
        },
        status => Outcome::Failed(format!("{status}: {}\n{}", shown(summary), shown(exchange))),
    };
    let seconds = node.attribute("time").and_then(|time| time.parse().ok()).unwrap_or_default();
    let section = name.split('/').next().unwrap_or_default().to_owned();
    Case { name, section, outcome, seconds }
}

/// The end of a text: what went wrong stands last.
fn shown(text: &str) -> String {
    let skipped = text.chars().count().saturating_sub(SHOWN);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(failures: usize, last: &str) -> String {
        let mut text = format!(r#"<testsuites><testsuite name="x" failures="{failures}" errors="0">"#);
        for number in 0..FEWEST_TESTS {
            text.push_str(&format!(
                r#"<testcase name="{ROOT}part/{number}" time="0.5" status="passed"></testcase>"#
            ));
        }
        text.push_str(last);
        text.push_str("</testsuite></testsuites>");
        text
    }

    fn last_outcome(failures: usize, last: &str) -> Outcome {
        let suite = parse(&document(failures, last), SpecVersion::V1_1).unwrap();
        suite.cases.last().unwrap().outcome.clone()
    }

    #[test]
    fn tests_are_read_with_their_outcome() {
        assert_eq!(last_outcome(0, ""), Outcome::Passed);
        let skip = |said: &str| {
            format!(
                r#"<testcase name="{ROOT}sha256 blobs/mount anonymous/blob-mount-anonymous" status="skipped"><system-out>{said}</system-out></testcase>"#
            )
        };
        assert!(matches!(
            last_outcome(0, &skip("registry returned status 202, fell back")),
            Outcome::Skipped(_)
        ));
        assert_eq!(last_outcome(0, &skip("no idea")), Outcome::Unexplained("no idea".to_owned()));
        let failed =
            r#"<testcase name="a" status="failure"><system-out>bad &lt;header&gt;</system-out></testcase>"#;
        assert!(
            matches!(last_outcome(1, failed), Outcome::Failed(reason) if reason.contains("bad <header>"))
        );
        let unknown = r#"<testcase name="a" status=""></testcase>"#;
        assert!(last_outcome(0, unknown).is_failure());
    }

    #[test]
    fn failures_that_no_test_shows_still_count() {
        assert!(last_outcome(2, "").is_failure());
    }

    #[test]
    fn a_run_that_was_cut_short_is_no_run() {
        assert!(parse("", SpecVersion::Dev).is_err());
        let short = r#"<testsuites><testsuite failures="0" errors="0"></testsuite></testsuites>"#;
        assert!(parse(short, SpecVersion::Dev).unwrap_err().contains("cut short"));
        assert!(parse(&document(0, "")[..500], SpecVersion::Dev).is_err());
        let uncounted = document(0, "").replace("failures", "other");
        assert!(parse(&uncounted, SpecVersion::Dev).is_err());
    }
}
