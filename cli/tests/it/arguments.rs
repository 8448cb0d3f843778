//! Build arguments that nobody uses, and what `probe` says.

use crate::kit::{Kit, run};

const DOCKERFILE: &str = "FROM scratch\nARG VERSION\nCOPY Dockerfile /\n";

#[test]
fn an_unused_build_argument_is_a_warning_told_twice_and_an_error_if_strict() {
    let kit = Kit::new();
    let arguments = ["--build-arg", "VERSON=1"];
    let (code, _, said) = run(kit.build(DOCKERFILE, &arguments));
    assert_eq!(code, Some(0), "{said}");
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("warning: --build-arg")).collect();
    assert_eq!(warnings.len(), 2, "{said}");
    assert!(warnings[0].contains("VERSON") && warnings[0].contains("did you mean VERSION?"), "{said}");
    assert!(said.lines().last().is_some_and(|line| line.contains("warning:")), "{said}");
    let (code, _, said) = run(kit.build(DOCKERFILE, &[&arguments[..], &["--strict"]].concat()));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("VERSON") && said.contains("--strict"), "{said}");
    let used = ["--build-arg", "VERSION=1", "--build-arg", "HTTP_PROXY=x", "--strict"];
    let (code, _, said) = run(kit.build(DOCKERFILE, &used));
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_build_argument_without_a_value_must_be_in_the_environment() {
    let kit = Kit::new();
    let arguments = ["--build-arg", "VERSION"];
    let (code, _, said) = run(kit.build(DOCKERFILE, &arguments));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("VERSION=VALUE"), "{said}");
    let mut command = kit.build(DOCKERFILE, &arguments);
    command.env("VERSION", "1");
    let (code, _, said) = run(command);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn probe_tells_nothing_twice() {
    let kit = Kit::new();
    let (_, told, _) = run(kit.builder("probe", &[]));
    let mut lines: Vec<&str> = told.lines().collect();
    let count = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), count, "{told}");
}
