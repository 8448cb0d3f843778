use super::*;
use crate::ast::{Instruction, InstructionKind};
use crate::source::Source;

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn args(text: &str) -> Vec<Arg> {
    let file = crate::parse(&Source::new("Dockerfile", format!("FROM a\n{text}\n"))).expect(text);
    let arg = |instruction: &Instruction| match &instruction.kind {
        InstructionKind::Arg(arg) => arg.clone(),
        _ => panic!("ARG only"),
    };
    file.stages[0].instructions.iter().map(arg).collect()
}

fn global(build_args: &[(&str, &str)], text: &str) -> GlobalScope {
    let build = Platform::new("linux", "amd64", None);
    let target = Platform::new("linux", "arm64", Some("v8"));
    let mut scope = GlobalScope::new(&build, &target, Some("app"), given(build_args));
    for arg in args(text) {
        scope.declare(&arg, &Expander::new('\\')).expect("a global argument");
    }
    scope
}

fn stage(scope: &mut StageScope, global: &GlobalScope, text: &str) {
    for arg in args(text) {
        scope.declare(&arg, global, &Expander::new('\\')).expect("an argument");
    }
}

#[test]
fn platform_arguments() {
    let scope = global(&[("TARGETOS", "plan9")], "");
    for (name, value) in [
        ("BUILDPLATFORM", "linux/amd64"),
        ("BUILDVARIANT", ""),
        ("TARGETPLATFORM", "linux/arm64/v8"),
        ("TARGETARCH", "arm64"),
        ("TARGETVARIANT", "v8"),
        ("TARGETOS", "plan9"),
        ("TARGETSTAGE", "app"),
    ] {
        assert_eq!(scope.value(name), Some(value), "{name}");
    }
    let none = GlobalScope::new(
        &Platform::new("linux", "amd64", None),
        &Platform::new("linux", "amd64", None),
        None,
        given(&[]),
    );
    assert_eq!(none.value("TARGETSTAGE"), Some("default"));
}

#[test]
fn global_defaults_see_those_before_and_the_user_wins() {
    let scope = global(&[("TAG", "mine")], "ARG V=1\nARG TAG=$V-x NAME=img:$V-$TAG\nARG NONE");
    assert_eq!(scope.value("TAG"), Some("mine"));
    assert_eq!(scope.value("NAME"), Some("img:1-mine"));
    assert_eq!(scope.value("NONE"), None);
}

#[test]
fn a_stage_sees_a_global_only_when_declared_again() {
    let global = global(&[("GIVEN", "g")], "ARG V=1");
    let mut scope = StageScope::new(Environment::from_config(["PATH=/bin", "E=env", "E=last"]));
    assert_eq!(scope.value("V"), None);
    assert_eq!(scope.value("E"), Some("last"));
    stage(&mut scope, &global, "ARG V\nARG TARGETARCH GIVEN=x W=$V.$GIVEN");
    assert_eq!(scope.value("V"), Some("1"));
    assert_eq!(scope.value("TARGETARCH"), Some("arm64"));
    assert_eq!(scope.value("GIVEN"), Some("g"));
    assert_eq!(scope.value("W"), Some("1.g"));
    stage(&mut scope, &global, "ARG V=2");
    assert_eq!(scope.value("V"), Some("2"));
}

#[test]
fn of_env_and_arg_the_later_counts() {
    let global = global(&[], "");
    let mut scope = StageScope::default();
    stage(&mut scope, &global, "ARG A=arg");
    scope.set_env("A", "env");
    assert_eq!(scope.value("A"), Some("env"));
    assert_eq!(scope.declared_args(), [("A".to_owned(), "env".to_owned())]);
    stage(&mut scope, &global, "ARG A=again\nARG B");
    assert_eq!(scope.value("A"), Some("again"));
    assert_eq!(scope.value("B"), None);
    assert_eq!(
        scope.declared_args(),
        [("A".to_owned(), "again".to_owned()), ("B".to_owned(), String::new())]
    );
}

#[test]
fn bad_defaults_are_located() {
    let arg = args("ARG A=${x:?needed}").pop().expect("an argument");
    let error =
        StageScope::default().declare(&arg, &global(&[], ""), &Expander::new('\\')).expect_err("x is unset");
    assert!(matches!(error.problem, Problem::Expand(_)));
    assert_eq!(error.span, crate::Span::new(13, 25));
    // A value from the user makes the default irrelevant.
    let mut scope = StageScope::default();
    scope.declare(&arg, &global(&[("A", "v")], ""), &Expander::new('\\')).expect("given");
    assert_eq!(scope.value("A"), Some("v"));
}

#[test]
fn proxies_come_in_both_spellings() {
    let pairs = proxy_environment(&given(&[
        ("HTTP_PROXY", "p"),
        ("no_proxy", "n"),
        ("FTP_PROXY", ""),
        ("OTHER", "x"),
    ]));
    let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        pairs,
        [owned("HTTP_PROXY", "p"), owned("http_proxy", "p"), owned("NO_PROXY", "n"), owned("no_proxy", "n")]
    );
    assert!(proxy_environment(&given(&[])).is_empty());
}

#[test]
fn values_are_not_shown_for_debugging() {
    let scope = global(&[("HTTP_PROXY", "http://u:secret@p")], "");
    let shown = format!("{scope:?}");
    assert!(shown.contains("HTTP_PROXY") && !shown.contains("secret"), "{shown}");
}
