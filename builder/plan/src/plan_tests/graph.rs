use std::collections::BTreeSet;

use super::*;

const THREE: &str = "FROM golang:1 AS build\nRUN make\nFROM node AS web\nRUN npm\nFROM build AS test\nRUN check\n\
                     FROM alpine\nCOPY --from=build /a /\nCOPY --from=1 /w /\nCOPY --from=nginx:2 /n /\n";

fn ids(plan: &Plan) -> Vec<usize> {
    plan.stages.iter().map(|stage| stage.id.0).collect()
}

#[test]
fn only_what_the_target_needs_is_planned_and_wanted() {
    let (plan, wanted) = Build::new(THREE).outcome().expect("a plan");
    assert_eq!(ids(&plan), [0, 1, 3]);
    let names: Vec<&str> = wanted.iter().filter_map(|text| text.split(['/', ':', ' ']).nth(2)).collect();
    assert_eq!(names, ["alpine", "node", "golang"], "{wanted:?}");
    let target = plan.target().expect("a target");
    assert_eq!(target.needs, BTreeSet::from([StageId(0), StageId(1)]));
    let images: Vec<&str> = target.copied_images().map(|image| image.reference.repository.as_str()).collect();
    assert_eq!(images, ["library/nginx"]);
    let (plan, wanted) = Build::new(THREE).target("Test").outcome().expect("a plan");
    assert_eq!(ids(&plan), [0, 2]);
    assert_eq!(wanted.len(), 1);
    assert_eq!(plan.stages[1].base, Base::Stage(StageId(0)));
    assert_eq!(plan.stages[1].name.as_deref(), Some("test"));
}

#[test]
fn independent_stages_are_ready_at_once() {
    let plan = Build::new(THREE).plan();
    let set = |ids: &[usize]| -> BTreeSet<StageId> { ids.iter().copied().map(StageId).collect() };
    assert_eq!(plan.ready(&set(&[]), &set(&[])), [StageId(0), StageId(1)]);
    assert_eq!(plan.ready(&set(&[0, 1]), &set(&[0])), []);
    assert_eq!(plan.ready(&set(&[0, 1]), &set(&[0, 1])), [StageId(3)]);
    assert_eq!(plan.ready(&set(&[0, 1, 3]), &set(&[0, 1, 3])), []);
}

#[test]
fn one_image_is_wanted_once_per_platform() {
    let text = "FROM --platform=linux/arm64/v8 a AS x\nFROM a AS y\nFROM a:latest AS z\nCOPY --from=x / /\nCOPY --from=y / /\n";
    let (plan, wanted) = Build::new(text).outcome().expect("a plan");
    let platforms: BTreeSet<&str> = wanted.iter().filter_map(|text| text.split(' ').next_back()).collect();
    assert_eq!(platforms, BTreeSet::from(["linux/amd64", "linux/arm64"]));
    assert_eq!(plan.stages[0].platform.to_string(), "linux/arm64");
}

#[test]
fn a_name_means_the_last_stage_before() {
    let plan =
        Build::new("FROM a AS a\nRUN 1\nFROM a AS a\nRUN 2\nFROM scratch\nCOPY --from=A /x /\n").plan();
    assert_eq!(ids(&plan), [0, 1, 2]);
    assert_eq!(plan.stages[1].base, Base::Stage(StageId(0)));
    assert_eq!(plan.stages[2].needs, BTreeSet::from([StageId(1)]));
}

#[test]
fn scratch_is_no_image() {
    let plan = Build::new("FROM scratch\nCOPY --from=scratch / /\n").plan();
    assert_eq!(plan.stages[0].base, Base::Scratch);
    assert!(matches!(&plan.stages[0].steps[0].kind, StepKind::Copy(copy) if copy.from == CopyFrom::Scratch));
}

#[test]
fn bad_references() {
    let failure = |text: &str| Build::new(text).failure();
    assert_eq!(
        failure("FROM a\nCOPY --from=2 x y\n"),
        (Problem::StageIndex { index: 2, count: 1 }, "--from=2".to_owned())
    );
    assert_eq!(failure("FROM a\nCOPY --from=0 x y\n").0, Problem::OwnStage);
    assert_eq!(failure("FROM a AS me\nCOPY --from=ME x y\n").0, Problem::OwnStage);
    assert_eq!(failure("FROM a AS x\nCOPY --from=$V x y\n").0, Problem::FromVariable);
    let later = "FROM a AS x\nCOPY --from=late x y\nFROM b AS late\nFROM scratch\nCOPY --from=x a b\n";
    assert_eq!(
        failure(later),
        (Problem::LaterStage { name: "late".to_owned(), line: 3 }, "--from=late".to_owned())
    );
    let cycle = "FROM a AS x\nCOPY --from=Z / /\nFROM X AS y\nFROM b AS z\nCOPY --from=y / /\n";
    let names = ["x", "z", "y", "x"].map(str::to_owned).to_vec();
    assert_eq!(failure(cycle).0, Problem::Cycle { names });
    assert_eq!(failure("FROM $X\n").0, Problem::BlankBase { written: "$X".to_owned() });
    assert!(matches!(failure("FROM a//b\n").0, Problem::ImageReference { .. }));
    assert_eq!(
        failure("FROM --platform=$X a\n"),
        (Problem::Platform { text: String::new() }, "--platform=$X".to_owned())
    );
    let (problem, _) = Build::new("FROM a AS build\nFROM b AS test\n").target("biuld").failure();
    assert_eq!(problem.mend().as_deref(), Some("did you mean build?"));
}

#[test]
fn a_stage_the_target_does_not_need_may_be_wrong() {
    let text = "FROM $UNSET AS a\nCOPY --from=9 x y\nFROM scratch AS b\nRUN ok\nFROM scratch\nRUN --network=host x\n";
    assert_eq!(ids(&Build::new(text).target("b").plan()), [1]);
}

#[test]
fn a_near_stage_is_remembered() {
    let plan = Build::new("FROM scratch AS build\nFROM scratch\nCOPY --from=biuld / /\n").plan();
    let image = plan.target().and_then(|stage| stage.copied_images().next()).expect("an image");
    assert_eq!(image.near_stage.as_deref(), Some("build"));
}

#[test]
fn triggers_of_an_image_bring_in_stages_and_images() {
    let build = Build::new("FROM scratch AS assets\nRUN make\nFROM base\nRUN own\n")
        .trigger("COPY --from=assets /a /a");
    let plan = build.plan();
    assert_eq!(ids(&plan), [0, 1]);
    let target = plan.target().expect("a target");
    let flags: Vec<(&str, bool, usize)> =
        target.steps.iter().map(|step| (step.text.as_str(), step.trigger, step.line)).collect();
    assert_eq!(flags, [("COPY --from=assets /a /a", true, 3), ("RUN own", false, 4)]);
    assert!(target.config.config.on_build.is_empty());
    let build = Build::new("FROM base\n").trigger("RUN --network=none x");
    let (problem, at) = build.failure();
    assert!(
        matches!(&problem, Problem::Trigger { message, .. } if message.contains("--network=none in line 1")),
        "{problem:?}"
    );
    assert_eq!(at, "FROM base");
    let (problem, _) = Build::new("FROM base\n").trigger("FROM x").failure();
    assert!(matches!(problem, Problem::Trigger { .. }));
}

#[test]
fn triggers_of_a_stage_run_in_its_children_only() {
    let plan =
        Build::new("FROM scratch AS a\nONBUILD RUN t\nRUN a\nFROM a AS b\nRUN b\nFROM b\nRUN c\n").plan();
    let texts: Vec<Vec<&str>> =
        plan.stages.iter().map(|stage| stage.steps.iter().map(|step| step.text.as_str()).collect()).collect();
    assert_eq!(texts, [vec!["ONBUILD RUN t", "RUN a"], vec!["RUN t", "RUN b"], vec!["RUN c"]]);
    assert_eq!(plan.stages[0].config.config.on_build, ["RUN t"]);
    assert!(plan.stages[2].config.config.on_build.is_empty());
}

#[test]
fn unused_build_arguments_are_listed() {
    let build = Build::new("ARG GLOBAL\nFROM scratch AS unneeded\nARG OTHER\nFROM base\nARG STAGE\n")
        .trigger("ARG TRIGGER");
    let given = ["GLOBAL", "OTHER", "STAGE", "TRIGGER", "http_proxy", "TARGETARCH", "SOURCE_DATE_EPOCH"];
    let unused = ["BUILD_DATE", "STAGES", "TARGET_ENVIRONMENT"];
    let build = given.iter().chain(&unused).fold(build, |build, name| build.arg(name, "1"));
    let build = build.arg("BUILDKIT_SYNTAX", "1");
    let expected = unused.map(|name| UnusedArgument {
        name: name.to_owned(),
        near: (name == "STAGES").then(|| "STAGE".to_owned()),
    });
    assert_eq!(build.plan().unused_build_args, expected);
}
