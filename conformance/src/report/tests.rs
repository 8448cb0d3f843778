use roxmltree::Document;

use super::*;

fn case(name: &str, outcome: Outcome) -> Case {
    Case { name: name.to_owned(), section: "a & b".to_owned(), outcome, seconds: 0.25 }
}

fn report(outcomes: Vec<Outcome>) -> Report {
    let cases = outcomes.into_iter().enumerate().map(|(place, outcome)| case(&place.to_string(), outcome));
    Report {
        registry: "http://localhost:5050".to_owned(),
        ended: "2026-01-01T00:00:00Z".to_owned(),
        sparse_manifests: true,
        tokens: false,
        suites: vec![Suite { name: "one".to_owned(), cases: cases.collect() }],
    }
}

fn every_outcome() -> Report {
    let odd = "<script>alert(\"x\")</script>\u{0}]]>\nline".to_owned();
    report(vec![
        Outcome::Passed,
        Outcome::Failed(odd.clone()),
        Outcome::Skipped(odd.clone()),
        Outcome::Unexplained(odd),
    ])
}

#[test]
fn only_explained_skips_leave_the_verdict_good() {
    assert!(report(vec![Outcome::Passed, Outcome::Skipped("known".to_owned())]).conforms());
    assert!(!report(vec![Outcome::Passed, Outcome::Unexplained("unknown".to_owned())]).conforms());
    assert!(!report(vec![Outcome::Passed, Outcome::Failed("bad".to_owned())]).conforms());
    assert!(!report(Vec::new()).conforms(), "nothing was asked");
}

#[test]
fn junit_is_xml_with_the_right_counts() {
    let text = junit::render(&every_outcome());
    let document = Document::parse(&text).expect("well-formed");
    let suite = document.descendants().find(|node| node.has_tag_name("testsuite")).unwrap();
    assert_eq!(suite.attribute("tests"), Some("4"));
    assert_eq!(suite.attribute("failures"), Some("2"));
    assert_eq!(suite.attribute("skipped"), Some("1"));
    let tags = |tag: &str| document.descendants().filter(|node| node.has_tag_name(tag)).count();
    assert_eq!((tags("testcase"), tags("failure"), tags("skipped")), (4, 2, 1));
}

#[test]
fn the_page_shows_reasons_as_text() {
    let page = html::render(&every_outcome());
    assert!(page.contains("&lt;script&gt;alert") && !page.contains("<script"), "{page}");
    assert!(page.contains("It does not conform") && !page.contains("http-equiv"));
    assert!(!page.contains("src=") && !page.contains("href="), "the page needs something from elsewhere");
}

#[test]
fn json_holds_the_verdict_the_counts_and_the_reasons() {
    let value: serde_json::Value = serde_json::from_str(&every_outcome().to_json()).unwrap();
    assert_eq!(value["conforms"], false);
    assert_eq!(value["suites"][0]["counts"]["unexplained"], 1);
    assert_eq!(value["suites"][0]["cases"][0]["status"], "passed");
    assert_eq!(value["suites"][0]["cases"][2]["status"], "skipped");
    assert!(value["suites"][0]["cases"][1]["reason"].as_str().unwrap().contains("<script>"));
}

#[test]
fn files_are_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let written = every_outcome().write(folder.path()).unwrap();
    assert_eq!(written.len(), 3);
    for path in written {
        assert!(path.metadata().unwrap().len() > 100, "{}", path.display());
    }
    assert!(every_outcome().write(&folder.path().join("missing")).is_err());
}
