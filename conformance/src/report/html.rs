//! One page that needs nothing else: no script, no style sheet, no picture from anywhere.

use std::fmt::Write;

use super::{Outcome, Report, Suite, escaped};

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1d2430;background:#fff}\
table{border-collapse:collapse;width:100%;margin:1rem 0}\
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #dfe3ea;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.passed{color:#17692f}.failed,.unexplained{color:#a31515;font-weight:600}.skipped{color:#8a5a00}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.3rem 0;font-size:13px}\
summary{cursor:pointer;font-weight:600;margin-top:1.5rem}\
@media(prefers-color-scheme:dark){body{color:#dfe3ea;background:#15181d}th,td{border-color:#343a45}\
.passed{color:#6fd08c}.failed,.unexplained{color:#ff8a80}.skipped{color:#f0c060}}";

pub(super) fn render(report: &Report) -> String {
    let registry = escaped(&report.registry);
    let verdict = if report.conforms() {
        "<p class=\"passed\">It conforms.</p>"
    } else {
        "<p class=\"failed\">It does not conform.</p>"
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Conformance of {registry}</title>\
         <style>{STYLE}</style></head>\n<body><h1>Conformance of {registry}</h1>\n{verdict}\n<p>{} · {} · {}</p>\n",
        escaped(&report.ended),
        if report.tokens { "asks for tokens" } else { "asks for no tokens" },
        if report.sparse_manifests {
            "takes manifests whose parts are missing"
        } else {
            "refuses manifests whose parts are missing"
        },
    );
    page.push_str(
        "<table><tr><th>Suite<th class=\"n\">passed<th class=\"n\">failed<th class=\"n\">skipped\
         <th class=\"n\">unexplained<th class=\"n\">seconds</tr>\n",
    );
    for suite in &report.suites {
        let counts = suite.counts();
        let _ = writeln!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{:.1}</tr>",
            escaped(&suite.name),
            counts.passed,
            counts.failed,
            counts.skipped,
            counts.unexplained,
            suite.seconds()
        );
    }
    page.push_str("</table>\n");
    for suite in &report.suites {
        cases(&mut page, suite);
    }
    page.push_str("</body></html>\n");
    page
}

fn cases(page: &mut String, suite: &Suite) {
    // What went wrong first; the hundreds that passed are folded away.
    let (passed, other): (Vec<_>, Vec<_>) =
        suite.cases.iter().partition(|case| case.outcome == Outcome::Passed);
    let _ = writeln!(page, "<h2>{}</h2>", escaped(&suite.name));
    for (rows, folded) in [(other, false), (passed, true)] {
        if rows.is_empty() {
            continue;
        }
        if folded {
            let _ = writeln!(page, "<details><summary>{} passed</summary>", rows.len());
        }
        page.push_str("<table><tr><th>Test<th>Section<th>Outcome</tr>\n");
        for case in rows {
            let class = match case.outcome {
                Outcome::Passed => "passed",
                Outcome::Failed(_) => "failed",
                Outcome::Skipped(_) => "skipped",
                Outcome::Unexplained(_) => "unexplained",
            };
            let reason = case.outcome.reason().map(|reason| format!("<pre>{}</pre>", escaped(reason)));
            let _ = writeln!(
                page,
                "<tr><td>{}<td>{}<td><span class=\"{class}\">{class}</span>{}</tr>",
                escaped(&case.name),
                escaped(&case.section),
                reason.unwrap_or_default()
            );
        }
        page.push_str(if folded { "</table></details>\n" } else { "</table>\n" });
    }
}
