//! Plans of whole Dockerfiles.

mod graph;
mod refusal;
mod steps;

use std::collections::BTreeMap;

use builder_dockerfile::{Mend as _, Source, parse};
use registry_types::Platform;

use crate::config::ImageConfig;
use crate::error::{Error, Problem};
use crate::graph::{Base, CopyFrom, StageId};
use crate::request::{BaseImages, Outcome, Plan, Request, UnusedArgument, plan};
use crate::step::{CopyStep, RunStep, StepKind};

/// A build of a Dockerfile in which every image has the same config.
struct Build {
    source: Source,
    target: Option<&'static str>,
    args: BTreeMap<String, String>,
    base: ImageConfig,
}

impl Build {
    fn new(text: &str) -> Self {
        let base = ImageConfig::scratch(&Platform::new("linux", "amd64", None));
        Self { source: Source::new("Dockerfile", text), target: None, args: BTreeMap::new(), base }
    }

    fn target(mut self, target: &'static str) -> Self {
        self.target = Some(target);
        self
    }

    fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.insert(name.to_owned(), value.to_owned());
        self
    }

    fn trigger(mut self, trigger: &str) -> Self {
        self.base.config.on_build.push(trigger.to_owned());
        self
    }

    /// The plan, and the images whose configs were wanted on the way.
    fn outcome(&self) -> Result<(Plan, Vec<String>), Error> {
        let dockerfile = parse(&self.source).expect("a Dockerfile");
        let request = Request {
            source: &self.source,
            dockerfile: &dockerfile,
            target: self.target,
            build_args: self.args.clone(),
            labels: BTreeMap::new(),
            build_platform: Platform::new("linux", "amd64", None),
            target_platform: None,
        };
        let mut known = BaseImages::default();
        let mut wanted = Vec::new();
        loop {
            match plan(&request, &known)? {
                Outcome::Ready(plan) => return Ok((plan, wanted)),
                Outcome::Wants(images) => {
                    assert!(!images.is_empty(), "nothing is wanted");
                    for image in images {
                        wanted.push(format!("{} {}", image.reference, image.platform));
                        known.insert(&image, self.base.clone());
                    }
                }
            }
        }
    }

    fn plan(&self) -> Plan {
        match self.outcome() {
            Ok((plan, _)) => plan,
            Err(error) => panic!("{}", error.render(&self.source)),
        }
    }

    fn failure(&self) -> (Problem, String) {
        let error = self.outcome().expect_err("a plan that fails");
        (error.problem, self.source.slice(error.span).to_owned())
    }
}

/// The steps of the target that make layers.
fn kinds(text: &str) -> Vec<StepKind> {
    let mut plan = Build::new(text).plan();
    let steps = plan.stages.pop().expect("a target").steps;
    steps.into_iter().filter(crate::Step::makes_layer).map(|step| step.kind).collect()
}

fn runs(text: &str) -> Vec<RunStep> {
    let run = |kind| match kind {
        StepKind::Run(run) => Some(run),
        _ => None,
    };
    kinds(text).into_iter().filter_map(run).collect()
}

fn copies(text: &str) -> Vec<CopyStep> {
    let copy = |kind| match kind {
        StepKind::Copy(copy) => Some(*copy),
        _ => None,
    };
    kinds(text).into_iter().filter_map(copy).collect()
}
