use super::*;
use crate::step::{CopyFile, CopyPath, Ownership, Principal, RunFile, WorkdirStep};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn literal(path: &str) -> CopyPath {
    CopyPath { pattern: path.to_owned(), literal: Some(path.to_owned()) }
}

#[test]
fn a_run_has_words_variables_directory_and_user() {
    let text = "FROM scratch\nARG A=1\nENV B=$A.2\nWORKDIR /w\nUSER app\nRUN echo $A\nRUN [\"x\", \"$A\"]\n";
    let found = runs(text);
    assert_eq!(found[0].arguments, words(&["/bin/sh", "-c", "echo $A"]));
    assert_eq!(found[1].arguments, words(&["x", "$A"]));
    let variables: Vec<(&str, &str)> =
        found[0].environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(variables[1..], [("A", "1"), ("B", "1.2")]);
    assert_eq!(variables[0].0, "PATH");
    assert_eq!((found[0].working_directory.as_str(), found[0].user.as_str()), ("/w", "app"));
}

#[test]
fn proxies_are_given_beside_variables_and_kept_out_of_the_image() {
    let build = Build::new("FROM scratch\nENV no_proxy=own\nRUN x\n")
        .arg("HTTPS_PROXY", "http://u:secret@p")
        .arg("NO_PROXY", "n");
    let plan = build.plan();
    let stage = plan.target().expect("a target");
    let Some(StepKind::Run(run)) =
        stage.steps.iter().map(|step| &step.kind).find(|kind| matches!(kind, StepKind::Run(_)))
    else {
        panic!("RUN")
    };
    let names: Vec<&str> = run.proxies.variables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["HTTPS_PROXY", "https_proxy", "NO_PROXY"]);
    assert!(!String::from_utf8_lossy(&stage.config.to_json()).contains("HTTPS_PROXY"));
    assert!(!format!("{run:?}").contains("secret"));
}

#[test]
fn here_documents_of_run() {
    let text = "FROM scratch\nRUN <<EOF\na $b\nEOF\nRUN <<-'P'\n\t#!/usr/bin/env python\n\tx\n\tP\nRUN cat <<A <<-B\na\nA\n\tb\n\tB\n";
    let found = runs(text);
    assert_eq!(found[0].arguments, words(&["/bin/sh", "-c", "a $b\n"]));
    assert_eq!(found[0].file, None);
    assert_eq!(found[1].arguments, words(&["/bin/sh", "-c", "/dev/pipes/P"]));
    let script = "#!/usr/bin/env python\nx\n".to_owned();
    assert_eq!(found[1].file, Some(RunFile { path: "/dev/pipes/P".to_owned(), content: script }));
    assert_eq!(found[2].arguments, words(&["/bin/sh", "-c", "cat <<A <<-B\na\nA\n\tb\nB"]));
}

#[test]
fn copies_are_expanded_and_made_absolute() {
    let text = "FROM scratch\nENV d=dist u=me\nWORKDIR /app\nCOPY --chown=$u:5 --chmod=$m $d/*.js ./a/ ../x $d/\nCOPY a .\nADD b /b\n";
    let found = copies(text);
    assert_eq!(
        found[0].paths,
        [CopyPath { pattern: "/dist/*.js".to_owned(), literal: None }, literal("/a"), literal("/x")]
    );
    assert_eq!((found[0].destination.as_str(), found[0].into_directory), ("/app/dist", true));
    let ownership = Ownership { user: Principal::Name("me".to_owned()), group: Some(Principal::Id(5)) };
    assert_eq!(found[0].ownership, Some(ownership));
    assert_eq!(found[0].chmod, None);
    assert_eq!((found[1].destination.as_str(), found[1].into_directory), ("/app", true));
    assert_eq!(
        (found[2].destination.as_str(), found[2].into_directory, found[2].unpack),
        ("/b", false, true)
    );
}

#[test]
fn here_documents_of_copy_expand_unless_quoted() {
    let found = copies("FROM scratch\nENV v=val\nCOPY <<-a <<'b' p /d/\n\tit's \"$v\" \\$v\n\ta\n$v\nb\n");
    let file = |name: &str, content: &str| CopyFile { name: name.to_owned(), content: content.to_owned() };
    assert_eq!(found[0].files, [file("a", "it's \"val\" $v\n"), file("b", "$v\n")]);
    assert_eq!(found[0].paths, [literal("/p")]);
}

#[test]
fn work_directories() {
    let found = kinds("FROM scratch\nWORKDIR /\nWORKDIR a\nUSER app\nWORKDIR b/../c\nWORKDIR /x\n");
    let step = |path: &str, user: &str| {
        StepKind::Workdir(WorkdirStep { path: path.to_owned(), user: user.to_owned() })
    };
    assert_eq!(found, [step("/a", ""), step("/a/c", "app"), step("/x", "app")]);
}

#[test]
fn the_platform_asked_for_is_the_images() {
    let source = Source::new("Dockerfile", "FROM base\nARG TARGETPLATFORM TARGETVARIANT\nRUN x\n");
    let dockerfile = parse(&source).expect("a Dockerfile");
    let request = Request {
        source: &source,
        dockerfile: &dockerfile,
        target: None,
        build_args: BTreeMap::new(),
        labels: BTreeMap::new(),
        build_platform: Platform::new("linux", "amd64", None),
        target_platform: Some(Platform::new("linux", "arm64", Some("v8"))),
    };
    let Outcome::Wants(images) = plan(&request, &BaseImages::default()).expect("a base") else {
        panic!("wants")
    };
    assert_eq!(images[0].platform.to_string(), "linux/arm64");
    let mut known = BaseImages::default();
    known.insert(&images[0], ImageConfig::scratch(&Platform::new("linux", "arm64", Some("v8"))));
    let Outcome::Ready(plan) = plan(&request, &known).expect("a plan") else { panic!("ready") };
    let target = plan.target().expect("a target");
    assert_eq!(target.config.platform(), Platform::new("linux", "arm64", None));
    let StepKind::Run(run) = &target.steps[1].kind else { panic!("RUN") };
    assert!(run.environment.contains(&("TARGETPLATFORM".to_owned(), "linux/arm64".to_owned())));
    assert!(run.environment.contains(&("TARGETVARIANT".to_owned(), String::new())));
}
