//! Configs and history compared with those of BuildKit 0.34.2 for the same Dockerfiles, base images and arguments.
//!
//! `golden.json` was written by running its Dockerfile frontend on each case (see `../golden`); a case holds what went in (`dockerfile`,
//! `base`, `args`, `target`) and the image config that came out (`config`), with an empty list where it had none of layers.

use std::collections::BTreeMap;

use builder_dockerfile::{Source, parse};
use builder_plan::{BaseImages, ImageConfig, Outcome, Plan, Request, plan};
use registry_types::Platform;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    dockerfile: String,
    base: Value,
    args: BTreeMap<String, String>,
    target: String,
    config: Value,
}

fn planned(case: &Case) -> Result<Plan, String> {
    let source = Source::new("Dockerfile", case.dockerfile.as_str());
    let dockerfile = parse(&source).map_err(|error| error.render(&source))?;
    let platform = Platform::new("linux", "amd64", None);
    let request = Request {
        source: &source,
        dockerfile: &dockerfile,
        target: (!case.target.is_empty()).then_some(case.target.as_str()),
        build_args: case.args.clone(),
        labels: BTreeMap::new(),
        build_platform: platform.clone(),
        target_platform: Some(platform),
    };
    let base = ImageConfig::from_json(case.base.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let mut known = BaseImages::default();
    // The second round knows all bases: triggers of the cases bring in no further ones.
    for _ in 0..2 {
        match plan(&request, &known).map_err(|error| error.render(&source))? {
            Outcome::Ready(plan) => return Ok(plan),
            Outcome::Wants(images) => images.iter().for_each(|image| known.insert(image, base.clone())),
        }
    }
    Err("bases are wanted twice".to_owned())
}

#[test]
fn configs_and_history_equal_buildkits() {
    let cases: BTreeMap<String, Case> = serde_json::from_str(include_str!("golden.json")).expect("cases");
    assert!(cases.len() >= 30, "cases are missing");
    let mut failures = Vec::new();
    for (name, case) in &cases {
        let plan = match planned(case) {
            Ok(plan) => plan,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let target = plan.target().expect("a target");
        let ours: Value = serde_json::from_slice(&target.config.to_json()).expect("JSON");
        if ours != case.config {
            let lines = |value: &Value| serde_json::to_string_pretty(value).expect("JSON");
            let (ours, theirs) = (lines(&ours), lines(&case.config));
            let differing = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
            failures.push(format!("{name}: {differing:?}\nours {ours}\ntheirs {theirs}"));
        }
        // Each step that makes a layer has its entry in the history.
        let layers: usize = plan
            .stages
            .iter()
            .map(|stage| stage.steps.iter().filter(|step| step.makes_layer()).count())
            .sum();
        let entries = target.config.history.iter().filter(|entry| !entry.empty_layer).count();
        if plan.stages.len() == 1 && entries != layers + target.config.rootfs.diff_ids.len() {
            failures.push(format!("{name}: {entries} entries for {layers} steps"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
