use std::collections::BTreeMap;

use builder_dockerfile::{Source, parse};
use proptest::prelude::*;

use super::*;
use crate::graph::CopyFrom;
use crate::request::{BaseImages, Outcome, PlannedStage, Request, plan};
use crate::step::{Chmod, CopyFile, Proxies, RunFile, StepKind};

fn platform() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn parent() -> StepKey {
    base_key(None, &platform())
}

fn run() -> RunStep {
    RunStep {
        arguments: vec!["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()],
        environment: vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())],
        proxies: Proxies::default(),
        working_directory: "/".to_owned(),
        user: String::new(),
        file: None,
    }
}

fn copy() -> CopyStep {
    CopyStep {
        from: CopyFrom::Context,
        paths: vec![CopyPath { pattern: "/a".to_owned(), literal: Some("/a".to_owned()) }],
        files: Vec::new(),
        destination: "/d".to_owned(),
        into_directory: false,
        ownership: None,
        chmod: None,
        unpack: false,
    }
}

#[test]
fn every_part_of_a_run_counts_but_proxies_and_order_do_not() {
    let key = |step: &RunStep| run_key(&parent(), step, &platform());
    let base = key(&run());
    let changed: Vec<fn(&mut RunStep)> = vec![
        |step| step.arguments.push(String::new()),
        |step| step.arguments = vec!["/bin/sh".to_owned(), "-cmake".to_owned()],
        |step| step.environment[0].1 = "2".to_owned(),
        |step| step.environment.truncate(1),
        |step| step.working_directory = "/x".to_owned(),
        |step| step.user = "app".to_owned(),
        |step| step.file = Some(RunFile { path: String::new(), content: String::new() }),
    ];
    for change in &changed {
        let mut step = run();
        change(&mut step);
        assert_ne!(key(&step), base);
    }
    let mut step = run();
    step.environment.reverse();
    step.proxies.variables.push(("http_proxy".to_owned(), "p".to_owned()));
    assert_eq!(key(&step), base);
    assert_ne!(run_key(&parent(), &run(), &Platform::new("linux", "arm64", None)), base);
    assert_ne!(run_key(&base, &run(), &platform()), base);
}

#[test]
fn every_part_of_a_copy_counts() {
    let content = Digest::sha256(b"content");
    let key = |step: &CopyStep| copy_key(&parent(), step, &content);
    let base = key(&copy());
    let changed: Vec<fn(&mut CopyStep)> = vec![
        |step| step.paths[0].pattern = "/b".to_owned(),
        |step| step.paths.clear(),
        |step| step.files.push(CopyFile { name: "a".to_owned(), content: "b".to_owned() }),
        |step| step.destination = "/e".to_owned(),
        |step| step.into_directory = true,
        |step| step.ownership = Some(Ownership::parse("0")),
        |step| step.ownership = Some(Ownership::parse("0:0")),
        |step| step.chmod = Chmod::parse("644"),
        |step| step.unpack = true,
    ];
    let mut keys = vec![base];
    for change in &changed {
        let mut step = copy();
        change(&mut step);
        keys.push(key(&step));
    }
    keys.push(copy_key(&parent(), &copy(), &Digest::sha256(b"other")));
    keys.push(copy_key(&base, &copy(), &content));
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count, "two different copies have one key");
}

#[test]
fn bases_and_directories_have_keys_of_their_own() {
    let image = Digest::sha256(b"image");
    let step = WorkdirStep { path: "/w".to_owned(), user: String::new() };
    let mut keys = vec![
        base_key(None, &platform()),
        base_key(Some(&image), &platform()),
        base_key(None, &Platform::new("linux", "arm64", None)),
        base_key(None, &Platform::new("linux", "arm64", Some("v9"))),
        workdir_key(&parent(), &step),
        workdir_key(&parent(), &WorkdirStep { user: "app".to_owned(), ..step.clone() }),
        workdir_key(&parent(), &WorkdirStep { path: "/x".to_owned(), ..step }),
    ];
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

fn stage(text: &str, labels: &[(&str, &str)]) -> PlannedStage {
    let source = Source::new("Dockerfile", text);
    let dockerfile = parse(&source).expect(text);
    let request = Request {
        source: &source,
        dockerfile: &dockerfile,
        target: None,
        build_args: BTreeMap::new(),
        labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        build_platform: platform(),
        target_platform: None,
    };
    match plan(&request, &BaseImages::default()).expect(text) {
        Outcome::Ready(mut plan) => plan.stages.pop().expect("a stage"),
        Outcome::Wants(images) => panic!("{images:?}"),
    }
}

/// The keys of the steps that make layers.
fn keys(stage: &PlannedStage) -> Vec<StepKey> {
    let mut key = parent();
    let mut keys = Vec::new();
    for step in &stage.steps {
        key = match &step.kind {
            StepKind::Run(run) => run_key(&key, run, &stage.platform),
            StepKind::Copy(copy) => copy_key(&key, copy, &Digest::sha256(b"")),
            StepKind::Workdir(workdir) => workdir_key(&key, workdir),
            StepKind::Config => continue,
        };
        keys.push(key);
    }
    keys
}

#[test]
fn metadata_is_in_no_key() {
    let plain = stage("FROM scratch\nRUN a\nCOPY b /\nWORKDIR /c\n", &[]);
    let labelled = stage(
        "FROM scratch\nLABEL x=y\nRUN a\nCMD [\"z\"]\nEXPOSE 80\nCOPY b /\nSTOPSIGNAL 9\nVOLUME /v\nWORKDIR /c\nENTRYPOINT x\n",
        &[("org.opencontainers.image.revision", "abc")],
    );
    assert_eq!(keys(&plain), keys(&labelled));
    assert_eq!(labelled.config.config.labels.len(), 2);
    assert_ne!(keys(&plain), keys(&stage("FROM scratch\nENV x=y\nRUN a\nCOPY b /\nWORKDIR /c\n", &[])));
    // A copy does not see variables, only what comes of them.
    let copied = |text: &str| keys(&stage(text, &[]));
    assert_eq!(copied("FROM scratch\nCOPY b /\n"), copied("FROM scratch\nENV x=/\nCOPY b $x\n"));
}

proptest! {
    /// Moving a boundary between two words, or a word between two lists, changes the key.
    #[test]
    fn boundaries_count(words in prop::collection::vec("[ab]{0,3}", 0..5), other in prop::collection::vec("[ab]{0,3}", 0..5)) {
        let step = |words: &[String]| RunStep { arguments: words.to_vec(), ..run() };
        let same = run_key(&parent(), &step(&words), &platform()) == run_key(&parent(), &step(&other), &platform());
        prop_assert_eq!(same, words == other);
    }

    #[test]
    fn names_and_values_do_not_run_together(name in "[A-B=]{1,3}", value in "[A-B=]{0,3}", cut in 0..6_usize) {
        let joined = format!("{name}{value}");
        let cut = cut.min(joined.len());
        let step = |name: &str, value: &str| RunStep {
            environment: vec![(name.to_owned(), value.to_owned())],
            ..run()
        };
        let first = run_key(&parent(), &step(&name, &value), &platform());
        let second = run_key(&parent(), &step(&joined[..cut], &joined[cut..]), &platform());
        prop_assert_eq!(first == second, cut == name.len());
    }

    #[test]
    fn files_and_patterns_do_not_run_together(
        left in prop::collection::vec(("[ab/]{0,2}", "[ab/]{0,2}"), 0..3),
        right in prop::collection::vec(("[ab/]{0,2}", "[ab/]{0,2}"), 0..3),
        patterns in prop::collection::vec("[ab/]{0,2}", 0..3),
        other_patterns in prop::collection::vec("[ab/]{0,2}", 0..3),
    ) {
        let step = |files: &[(String, String)], patterns: &[String]| CopyStep {
            paths: patterns.iter().map(|pattern| CopyPath { pattern: pattern.clone(), literal: None }).collect(),
            files: files.iter().map(|(name, content)| CopyFile { name: name.clone(), content: content.clone() }).collect(),
            ..copy()
        };
        let content = Digest::sha256(b"");
        let same = copy_key(&parent(), &step(&left, &patterns), &content)
            == copy_key(&parent(), &step(&right, &other_patterns), &content);
        prop_assert_eq!(same, left == right && patterns == other_patterns);
    }
}
