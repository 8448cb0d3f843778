//! The entry: a request in, a plan out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use builder_dockerfile::{
    Dockerfile, Expander, GLOBAL_ARGUMENTS, GlobalScope, Instruction, InstructionKind, PROXY_ARGUMENTS,
    Source, nearest,
};
use registry_types::{ImageReference, Platform};

use crate::config::ImageConfig;
use crate::dispatch::{Dispatcher, StageState};
use crate::error::{Error, of_dockerfile};
use crate::graph::{Base, CopyFrom, Draft, Graph, ImageUse, StageId};
use crate::platform::normalized;
use crate::step::{Step, StepKind};

/// What to plan.
#[derive(Clone)]
pub struct Request<'a> {
    pub source: &'a Source,
    pub dockerfile: &'a Dockerfile,
    /// Name of the stage to build; the last one if not given.
    pub target: Option<&'a str>,
    pub build_args: BTreeMap<String, String>,
    /// Labels to put on the image besides those of the Dockerfile. No step's key depends on them.
    pub labels: BTreeMap<String, String>,
    /// The platform that steps run on.
    pub build_platform: Platform,
    /// The platform of the image; that of the build, and of the base image, if not given.
    pub target_platform: Option<Platform>,
}

/// Shows no value of a build argument: a proxy's may hold a password.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("source", &self.source.name())
            .field("target", &self.target)
            .field("build_args", &self.build_args.keys())
            .field("labels", &self.labels)
            .field("build_platform", &self.build_platform)
            .field("target_platform", &self.target_platform)
            .finish_non_exhaustive()
    }
}

/// Configs of base images as far as they are known.
#[derive(Debug, Clone, Default)]
pub struct BaseImages {
    configs: HashMap<(ImageReference, Platform), ImageConfig>,
}

impl BaseImages {
    pub fn insert(&mut self, image: &ImageUse, config: ImageConfig) {
        self.configs.insert((image.reference.clone(), image.platform.clone()), config);
    }

    pub fn get(&self, image: &ImageUse) -> Option<&ImageConfig> {
        self.configs.get(&(image.reference.clone(), image.platform.clone()))
    }
}

/// What [`plan`] comes to.
#[derive(Debug, Clone)]
pub enum Outcome {
    Ready(Plan),
    /// The configs of these images are needed first; each is listed once. Triggers of a base image may bring in
    /// further ones, so this can happen more than once.
    Wants(Vec<ImageUse>),
}

/// Everything a build does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The stages the target needs, each behind those it needs; the target is the last.
    pub stages: Vec<PlannedStage>,
    /// Build arguments that no `ARG` declares and that mean nothing without one.
    pub unused_build_args: Vec<UnusedArgument>,
}

/// A build argument that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedArgument {
    pub name: String,
    /// The `ARG` that may have been meant.
    pub near: Option<String>,
}

impl Plan {
    pub fn target(&self) -> Option<&PlannedStage> {
        self.stages.last()
    }

    pub fn stage(&self, id: StageId) -> Option<&PlannedStage> {
        self.stages.iter().find(|stage| stage.id == id)
    }

    /// The stages that can run now: not in `started`, and everything they need in `finished`. All of them can run at
    /// once.
    pub fn ready(&self, started: &BTreeSet<StageId>, finished: &BTreeSet<StageId>) -> Vec<StageId> {
        let waiting = self.stages.iter().filter(|stage| !started.contains(&stage.id));
        waiting.filter(|stage| stage.needs.is_subset(finished)).map(|stage| stage.id).collect()
    }
}

/// A stage with its steps.
#[derive(Debug, Clone)]
pub struct PlannedStage {
    pub id: StageId,
    pub name: Option<String>,
    pub base: Base,
    /// The stages it starts from and copies from.
    pub needs: BTreeSet<StageId>,
    pub platform: Platform,
    pub steps: Vec<Step>,
    /// The config of an image of this stage. Layers and times are missing: see [`ImageConfig::seal`].
    pub config: ImageConfig,
}

impl PlannedStage {
    /// The images it copies from.
    pub fn copied_images(&self) -> impl Iterator<Item = &ImageUse> {
        self.steps.iter().filter_map(|step| match &step.kind {
            StepKind::Copy(copy) => match &copy.from {
                CopyFrom::Image(image) => Some(image.as_ref()),
                _ => None,
            },
            _ => None,
        })
    }
}

/// Plans a build. Pure: the same request and configs give the same plan.
pub fn plan(request: &Request<'_>, known: &BaseImages) -> Result<Outcome, Error> {
    let file = request.dockerfile;
    let expander = Expander::new(file.escape());
    let build = normalized(&request.build_platform);
    let target_platform = request.target_platform.as_ref().map_or_else(|| build.clone(), normalized);
    let last_name =
        file.stages.last().and_then(|stage| stage.from.name.as_ref()).map(|name| name.value.as_str());
    let target_name = request.target.or(last_name);
    let mut global = GlobalScope::new(&build, &target_platform, target_name, request.build_args.clone());
    for instruction in &file.global_args {
        if let InstructionKind::Arg(arg) = &instruction.kind {
            global.declare(arg, &expander).map_err(of_dockerfile)?;
        }
    }
    let graph = Graph { request, global: &global, expander, target_platform: &target_platform };
    let target = graph.target(request.target)?;
    let (drafts, wants) = needed(&graph, target, known)?;
    if !wants.is_empty() {
        return Ok(Outcome::Wants(wants));
    }

    // Also of stages that are not needed: whoever gives an argument need not know which are.
    let written = file.global_args.iter().chain(file.stages.iter().flat_map(|stage| &stage.instructions));
    let mut arguments: BTreeSet<String> = written.flat_map(declared).collect();
    let mut states: BTreeMap<StageId, StageState> = BTreeMap::new();
    let mut stages = Vec::with_capacity(drafts.len());
    for (id, draft) in drafts {
        let start = match &draft.base {
            Base::Scratch => StageState::scratch(&target_platform),
            Base::Image(image) => {
                StageState::on_image(known.get(image).cloned().unwrap_or_default(), &image.platform)
            }
            Base::Stage(base) => match states.get(base) {
                Some(state) => StageState::on_stage(state),
                None => StageState::scratch(&target_platform),
            },
        };
        let needs: BTreeSet<StageId> = draft.needs().collect();
        let mut dispatcher = Dispatcher::new(request, &global, expander, start);
        let span = file.stages.get(id.0).map(|stage| stage.span).unwrap_or_default();
        for placed in draft.instructions {
            // Triggers of a base image may declare further ones.
            arguments.extend(declared(&placed.instruction));
            dispatcher.execute(placed, span)?;
        }
        let (state, steps) = dispatcher.finish();
        let name =
            file.stages.get(id.0).and_then(|stage| stage.from.name.as_ref()).map(|name| name.value.clone());
        let (config, platform) = (state.config.clone(), state.platform.clone());
        states.insert(id, state);
        stages.push(PlannedStage { id, name, base: draft.base, needs, platform, steps, config });
    }
    if let Some(stage) = stages.last_mut() {
        finish_target(&mut stage.config, request);
    }
    Ok(Outcome::Ready(Plan { stages, unused_build_args: unused_build_args(request, &arguments) }))
}

type Needed = (BTreeMap<StageId, Draft>, Vec<ImageUse>);

/// The stages the target needs, and the images whose configs are not known.
fn needed(graph: &Graph<'_>, target: usize, known: &BaseImages) -> Result<Needed, Error> {
    let mut drafts = BTreeMap::new();
    let mut wants: Vec<ImageUse> = Vec::new();
    let mut open = BTreeSet::from([StageId(target)]);
    while let Some(id) = open.pop_last() {
        let draft = graph.draft(id.0, known)?;
        open.extend(draft.needs());
        let new = |image: &ImageUse| {
            !wants.iter().any(|other| other.reference == image.reference && other.platform == image.platform)
        };
        if let Some(image) = draft.wants.clone().filter(new) {
            wants.push(image);
        }
        drafts.insert(id, draft);
    }
    Ok((drafts, wants))
}

/// A platform that was asked for is the image's, whatever the base image says of itself.
fn finish_target(config: &mut ImageConfig, request: &Request<'_>) {
    config.config.labels.extend(request.labels.clone());
    let mut platform = config.platform();
    if let Some(wanted) = &request.target_platform {
        let same = platform.os == wanted.os && platform.architecture == wanted.architecture;
        platform.os.clone_from(&wanted.os);
        platform.architecture.clone_from(&wanted.architecture);
        if wanted.variant.is_some() || !same {
            platform.variant.clone_from(&wanted.variant);
        }
        if wanted.os_version.is_some() || !same {
            platform.os_version.clone_from(&wanted.os_version);
        }
        if !wanted.os_features.is_empty() {
            platform.os_features.clone_from(&wanted.os_features);
        }
    }
    config.set_platform(&normalized(&platform));
}

/// The names that an `ARG` declares; none of another instruction.
fn declared(instruction: &Instruction) -> impl Iterator<Item = String> + use<'_> {
    let definitions = match &instruction.kind {
        InstructionKind::Arg(arg) => arg.definitions.as_slice(),
        _ => &[],
    };
    definitions.iter().map(|definition| definition.name.value.clone())
}

/// Build arguments that are not in `declared` and mean nothing by themselves.
fn unused_build_args(request: &Request<'_>, declared: &BTreeSet<String>) -> Vec<UnusedArgument> {
    /// Fixes times, whoever reads it (reproducible-builds.org, "SOURCE_DATE_EPOCH").
    const EPOCH: &str = "SOURCE_DATE_EPOCH";
    /// What BuildKit's frontend is told by arguments.
    const TOOL_PREFIX: &str = "BUILDKIT_";
    let meant = |name: &str| {
        PROXY_ARGUMENTS.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
            || GLOBAL_ARGUMENTS.contains(&name)
            || name == EPOCH
            || name.starts_with(TOOL_PREFIX)
    };
    let names = request.build_args.keys();
    let unused = names.filter(|name| !declared.contains(*name) && !meant(name));
    let near = |name: &str| nearest(name, declared.iter().map(String::as_str)).map(str::to_owned);
    unused.map(|name| UnusedArgument { near: near(name), name: name.clone() }).collect()
}
