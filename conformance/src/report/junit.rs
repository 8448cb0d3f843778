//! JUnit XML, in the form that GitLab and Jenkins read.

use std::fmt::Write;

use super::{Outcome, Report, escaped};

pub(super) fn render(report: &Report) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let counts: Vec<_> = report.suites.iter().map(super::Suite::counts).collect();
    let failed: usize = counts.iter().map(|counts| counts.failed + counts.unexplained).sum();
    let tests: usize = report.suites.iter().map(|suite| suite.cases.len()).sum();
    let name = escaped(&report.registry);
    let _ = writeln!(text, "<testsuites name=\"{name}\" tests=\"{tests}\" failures=\"{failed}\">");
    for (suite, counts) in report.suites.iter().zip(counts) {
        let _ = writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\" timestamp=\"{}\">",
            escaped(&suite.name),
            suite.cases.len(),
            counts.failed + counts.unexplained,
            counts.skipped,
            suite.seconds(),
            escaped(&report.ended),
        );
        for case in &suite.cases {
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
                escaped(&case.section),
                escaped(&case.name),
                case.seconds
            );
            let (tag, message) = match &case.outcome {
                Outcome::Passed => {
                    text.push_str("/>\n");
                    continue;
                }
                Outcome::Failed(reason) => ("failure", reason.clone()),
                Outcome::Unexplained(reason) => ("failure", format!("skipped for no known reason: {reason}")),
                Outcome::Skipped(reason) => ("skipped", reason.clone()),
            };
            let first = message.lines().next().unwrap_or_default();
            let _ = writeln!(
                text,
                ">\n      <{tag} message=\"{}\">{}</{tag}>\n    </testcase>",
                escaped(first),
                escaped(&message)
            );
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}
